"""The constant folder of onnxscript without the inference of shapes that are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx_ir as ir

# onnxscript exports only a function, which infers the shapes behind every node.
from onnxscript.optimizer._constant_folding import (
    DEFAULT_CONSTANT_FOLD_INPUT_SIZE_LIMIT,
    FoldConstantsPass,
    Replacement,
)


class Folder(FoldConstantsPass):  # type: ignore[misc]
    """Evaluates the nodes whose inputs are constant, and simplifies others.

    Parameters
    ----------
    output_size_limit : int
        A result with more elements is not stored if it is larger than the inputs.
    should_fold : callable
        Says whether a node may be evaluated; None leaves the decision to the size of the inputs.
    """

    def __init__(self, output_size_limit: int, should_fold: Callable[[ir.Node], bool | None]) -> None:
        super().__init__(
            shape_inference=True,
            input_size_limit=DEFAULT_CONSTANT_FOLD_INPUT_SIZE_LIMIT,
            output_size_limit=output_size_limit,
            should_fold=should_fold,
        )

    def new_initializer(self, node: ir.Node, array: Any) -> ir.Value | None:
        """Return a value with the result of a node, or None if the result is too large."""
        if (
            not isinstance(array, np.ndarray)
            or array.size > self.output_size_limit
            or array.dtype.kind not in "biuf"
        ):
            value: ir.Value | None = super().new_initializer(node, array)
            return value
        # `ir.tensor`, which onnxscript calls, tries many types before that of an array.
        tensor = ir.Tensor(array, name=node.outputs[0].name)
        return ir.Value(
            name=tensor.name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(array.shape),
            const_value=tensor,
        )

    def replace_node(self, node: ir.Node, replacement: Replacement, root: ir.Graph | ir.Function) -> None:
        """Put a replacement in the place of a node.

        onnxscript also writes the names of all values behind a constant into the model's metadata.
        """
        before = [value for value in node.inputs if value is not None]
        ir.convenience.replace_nodes_and_values(
            root, node, [node], replacement.new_nodes, node.outputs, replacement.new_outputs
        )
        for value in before if isinstance(root, ir.Graph) else ():
            graph = value.graph if value.is_initializer() else None
            if graph is not None and not value.uses() and not value.is_graph_output():
                graph.initializers.pop(value.name or "")
        self._modified = True

    def _do_inference(self, node: ir.Node) -> None:
        """Infer the types and shapes of a node's outputs; sizes that are known would stay as they are."""
        if not all(_is_settled(value) for value in node.outputs):
            super()._do_inference(node)


def _is_settled(value: ir.Value) -> bool:
    if not value.name:
        return True
    shape = value.shape
    return value.type is not None and shape is not None and all(type(size) is int for size in shape.dims)
