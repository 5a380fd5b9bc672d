"""Rewrite operators that onnx's version converter converts wrongly, and hide them from the converter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from xslim.graph.ops import constant, opset, rank
from xslim.passes.resizing import add_beside, resize_as_before

# The converter does not change nodes of domains that it does not know.
_HIDDEN = "xslim.raised"

Mend = Callable[[ir.Graph, ir.Node], list[ir.Node]]
"""Function that rewrites a node and returns the nodes in their new form, or none if it cannot do so."""


def hide_raised(model: ir.Model, target: int) -> None:
    """Rewrite operators to their form in opset `target`, and hide them from onnx's converter."""
    current = opset(model)
    for graph in model.graphs():
        for node in list(graph):
            entry = MENDS.get(node.op_type) if node.domain == "" else None
            if entry is not None and current < entry[0] <= target:
                for written in entry[1](graph, node):
                    written.domain = _HIDDEN
    if any(node.domain == _HIDDEN for node in model.graph.all_nodes()):
        model.opset_imports[_HIDDEN] = 1


def reveal_raised(model: ir.Model) -> None:
    """Restore the domain of the hidden operators."""
    for node in model.graph.all_nodes():
        if node.domain == _HIDDEN:
            node.domain = ""
    model.opset_imports.pop(_HIDDEN, None)


def _upsample(graph: ir.Graph, node: ir.Node) -> list[ir.Node]:
    scales = node.inputs[1] if len(node.inputs) > 1 else None
    if scales is None:
        numbers = np.array(node.attributes.get_floats("scales") or (), np.float32)
        scales = add_beside(graph, node, "scales", numbers)
    return resize_as_before(graph, node, scales)


def _hardmax(graph: ir.Graph, node: ir.Node) -> list[ir.Node]:
    """Before opset 13, Hardmax flattens all axes from the given one on to a single axis."""
    data, result, ndim = node.inputs[0], node.outputs[0], rank(node.inputs[0])
    axis = node.attributes.get_int("axis", 1)
    node.attributes.add(ir.AttrInt64("axis", -1))
    if ndim is None or axis % ndim < ndim - 1:
        flat = _before(graph, node, "Flatten", [data], {"axis": axis})
        shape = _before(graph, node, "Shape", [data], {})
        node.replace_input_with(0, flat)
        back = ir.node("Reshape", [result, shape])
        graph.insert_after(node, back)
        ir.convenience.replace_all_uses_with(result, back.outputs[0], replace_graph_outputs=True)
        back.replace_input_with(0, result)
        back.outputs[0].name, result.name = result.name, f"{result.name}.flat"
        back.outputs[0].type, back.outputs[0].shape, result.shape = result.type, result.shape, None
    return [node]


def _group_normalization(graph: ir.Graph, node: ir.Node) -> list[ir.Node]:
    """Before opset 21, scale and bias have one value per group; from opset 21 on, one per channel."""
    shape, groups = node.inputs[0].shape if node.inputs[0] else None, node.attributes.get_int("num_groups")
    channels = shape[1] if shape is not None and len(shape) > 1 else None
    if not isinstance(channels, int) or not groups:
        return []
    for index, role in ((1, "scale"), (2, "bias")):
        value = node.inputs[index]
        if value is None:
            return []
        node.replace_input_with(index, _repeated(graph, node, value, channels // groups, role))
    return [node]


def _repeated(graph: ir.Graph, node: ir.Node, value: ir.Value, count: int, role: str) -> ir.Value:
    array = constant(value)
    if array is not None:
        return add_beside(graph, node, role, np.repeat(array, count))
    column = add_beside(graph, node, f"{role}.column", np.array([-1, 1]))
    repeats = add_beside(graph, node, f"{role}.repeats", np.array([1, count]))
    line = add_beside(graph, node, f"{role}.line", np.array([-1]))
    for operator, other in (("Reshape", column), ("Tile", repeats), ("Reshape", line)):
        value = _before(graph, node, operator, [value, other], {})
    return value


def _before(
    graph: ir.Graph, node: ir.Node, operator: str, inputs: list[ir.Value | None], attributes: dict[str, int]
) -> ir.Value:
    """Insert a node before another one and return its output."""
    new = ir.node(operator, inputs, attributes=attributes)
    new.outputs[0].name = f"{node.outputs[0].name}.{operator.lower()}{len(graph)}"
    graph.insert_before(node, new)
    return new.outputs[0]


MENDS: dict[str, tuple[int, Mend]] = {
    "Upsample": (11, _upsample),
    "Resize": (11, _upsample),
    "Hardmax": (13, _hardmax),
    "GroupNormalization": (21, _group_normalization),
}
"""For each operator: the opset that changed its meaning, and the function that rewrites it for this opset."""
