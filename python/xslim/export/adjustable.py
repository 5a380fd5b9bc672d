"""Insert quantisers whose parameters are inputs of the model, for many trials with one session.

Writing and loading a model for every trial takes longer than running it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.editing import GraphEditor
from xslim.graph.outputs import values_by_name
from xslim.graph.scheme import QuantParams, QuantPlan, representable

Feeds = Mapping[str, NDArray[np.generic]]


class Adjustable:
    """A float model whose activations become int8 with scales, and zero points, that are inputs.

    Clamps in front of a quantiser stay in the graph: they do not change what the quantiser writes.

    Parameters
    ----------
    model : onnx_ir.Model
        The float model; it is not changed.
    plan : QuantPlan
        The plan of the model.
    tensors : collection of str
        Names of the activations that get a quantiser.

    Attributes
    ----------
    model : onnx_ir.Model
        The model with quantisers and more inputs.
    """

    def __init__(self, model: ir.Model, plan: QuantPlan, tensors: Collection[str]) -> None:
        self.model = model.clone()
        writer = _Writer(self.model.graph, plan.int8_operators)
        values = values_by_name(self.model.graph)
        self._inputs = {name: writer.insert(values[name]) for name in sorted(tensors)}
        self.model.graph.sort()

    def parameters(self, activations: Mapping[str, QuantParams]) -> Feeds:
        """Return the inputs that give every quantiser its scale and zero point."""
        feeds: dict[str, NDArray[np.generic]] = {}
        for name, (scale, zero_point) in self._inputs.items():
            params = activations[name]
            dtype = np.float16 if scale.dtype == ir.DataType.FLOAT16 else np.float32
            feeds[scale.name or ""] = representable(params.scale, dtype)
            feeds[zero_point.name or ""] = np.asarray(params.zero_point, np.int8)
        return feeds


class _Writer(GraphEditor):
    def __init__(self, graph: ir.Graph, int8_operators: frozenset[str]) -> None:
        super().__init__(graph)
        self._int8_operators = int8_operators

    def input(self, name: str, dtype: ir.DataType) -> ir.Value:
        value = ir.Value(name=self.fresh(name), type=ir.TensorType(dtype), shape=ir.Shape([]))
        self.graph.inputs.append(value)
        return value

    def insert(self, value: ir.Value) -> tuple[ir.Value, ir.Value]:
        """Insert a quantiser for the readers of a tensor; return its scale and zero point."""
        name, only_int8 = value.name or "", self._is_int8(value.producer())
        readers = [use for use in value.uses() if only_int8 or self._is_int8(use.node)]
        scale = self.input(f"{name}_scale", value.dtype or ir.DataType.FLOAT)
        zero_point = self.input(f"{name}_zero_point", ir.DataType.INT8)
        [stored] = self.node("QuantizeLinear", [value, scale, zero_point], [f"{name}_quantized"])
        [result] = self.node("DequantizeLinear", [stored, scale, zero_point], [f"{name}_dequantized"])
        result.type, result.shape = value.type, value.shape
        for node, index in readers:
            node.replace_input_with(index, result)
        if only_int8 and value.is_graph_output():
            self.take_place(value, result, f"{name}_float")
        return scale, zero_point

    def _is_int8(self, node: ir.Node | None) -> bool:
        return node is not None and node.graph is self.graph and node.name in self._int8_operators
