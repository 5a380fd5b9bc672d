"""Shapes that somebody states, checked against those that follow from the operators."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping

import numpy as np
import onnx_ir as ir

from xslim.graph.editing import fresh_name
from xslim.graph.ops import is_standard, new_constant
from xslim.passes.inference import infer_once

logger = logging.getLogger(__name__)

# Operators that return sequences and optionals, no tensors.
_CONTAINERS = (
    "Optional",
    "SequenceConstruct",
    "SequenceEmpty",
    "SequenceErase",
    "SequenceInsert",
    "SequenceMap",
    "SplitToSequence",
)

Dims = tuple[object, ...]


def infer_shapes(model: ir.Model) -> None:
    """Give every value the type and shape that follow from the inputs; symbolic names stay."""
    _infer(model)
    while uneven := [node for node in model.graph.all_nodes() if _state_sizes(node)]:
        _forget_behind(uneven)
        _infer(model)


def settle_shapes(model: ir.Model, corrected: Mapping[str, ir.Shape] | None = None) -> list[str]:
    """Let what follows from the operators win over what is declared, where both know and disagree.

    Parameters
    ----------
    model : onnx_ir.Model
        Changed in its shapes only.
    corrected : mapping of str to Shape, optional
        Shapes of values whose declaration is known to be wrong.

    Returns
    -------
    list of str
        The values whose declared shape was another.
    """
    corrected = corrected or {}
    wrong = list(corrected)
    declared: dict[ir.Value, ir.Shape] = {}
    for value in _computed(model):
        if value.shape is not None:
            declared[value] = corrected.get(value.name or "", value.shape)
            value.shape = None
    infer_shapes(model)
    for value, shape in declared.items():
        if value.shape is None:
            value.shape = shape
        elif contradicts(value.shape, shape):
            logger.debug("%s is declared %s, its operator makes %s", value.name, shape, value.shape)
            wrong.append(value.name or "")
        else:
            pairs = zip(value.shape, shape, strict=True)
            value.shape = ir.Shape([_surer(inferred, stated) for inferred, stated in pairs])
    return wrong


def contradicts(first: ir.Shape | Dims, second: ir.Shape | Dims) -> bool:
    """Whether no array has both shapes."""
    if len(first) != len(second):
        return True
    pairs = zip(first, second, strict=True)
    return any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs)


def _surer(inferred: int | ir.SymbolicDim, stated: int | ir.SymbolicDim) -> int | ir.SymbolicDim:
    if isinstance(inferred, int) or (not isinstance(stated, int) and stated.value is None):
        return inferred
    return stated


def _computed(model: ir.Model) -> Iterator[ir.Value]:
    """Values of the main graph that standard operators compute: their shapes can be inferred."""
    for node in model.graph:
        if node.domain == "":
            yield from node.outputs


def _infer(model: ir.Model) -> None:
    infer_once(model)
    # onnx_ir takes the type of a sequence's elements for its own.
    for node in model.graph.all_nodes():
        for value in node.outputs if is_standard(node, *_CONTAINERS) else ():
            if isinstance(value.type, ir.TensorType):
                value.type, value.shape = None, None


def _state_sizes(node: ir.Node) -> bool:
    """Write the sizes of a Split into uneven parts down; say if that was needed.

    All parts but the last are equally large. onnx infers other shapes (3, 2, 2 instead of 3, 3, 1 for 7).
    """
    graph = node.graph
    if not is_standard(node, "Split") or "num_outputs" not in node.attributes or node.inputs[0] is None:
        return False
    shape, axis = node.inputs[0].shape, node.attributes.get_int("axis", 0)
    size = shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None
    count = node.attributes.get_int("num_outputs")
    if not isinstance(size, int) or count is None or size % count == 0 or not isinstance(graph, ir.Graph):
        return False
    part = math.ceil(size / count)
    sizes = np.array([min(part, size - index * part) for index in range(count)], np.int64)
    if sizes.min() < 0:
        return False
    name = fresh_name(node, f"{node.outputs[0].name}.sizes")
    constant = new_constant(sizes, name)
    graph.register_initializer(constant)
    node.resize_inputs(2)
    node.replace_input_with(1, constant)
    node.attributes.pop("num_outputs")
    return True


def _forget_behind(nodes: list[ir.Node]) -> None:
    waiting, seen = list(nodes), set(nodes)
    while waiting:
        for value in waiting.pop().outputs:
            value.shape = None
            for node, _ in value.uses():
                if node not in seen and node.domain == "":
                    seen.add(node)
                    waiting.append(node)
