"""Find functions that saturate in front of the outputs of a model.

The error of a saturated output says little: a Softmax that gives one class all the probability hides the
error of its logits. The input of such a function is therefore compared as well.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from xslim.graph.ops import MOVING

SATURATING = frozenset(
    {"ArgMax", "ArgMin", "HardSigmoid", "Hardmax", "Sigmoid", "Softmax", "Tanh", "TopK", "Greater", "Less"}
)
"""Functions whose output hardly changes, or does not change, where their input does."""


def saturated_outputs(graph: ir.Graph) -> dict[str, list[ir.Node]]:
    """Return the outputs that hold only values of saturating functions, each with these functions."""
    found = {}
    for value in graph.outputs:
        nodes = _sources(value)
        if value.name and nodes:
            found[value.name] = nodes
    return found


def operands(model: ir.Model, functions: Sequence[str]) -> list[str]:
    """Return the tensors that the nodes of these names read in a model: a quantised one may read others."""
    nodes = {node.name: node for node in model.graph}
    read = (nodes[name].inputs[0] for name in functions)
    return [value.name or "" for value in read if value is not None]


def _sources(value: ir.Value) -> list[ir.Node]:
    """Return the saturating functions whose values a tensor holds; none if it holds other values as well."""
    node = value.producer()
    if node is None or node.domain not in ("", "ai.onnx"):
        return []
    if node.op_type in SATURATING:
        return [node]
    if node.op_type == "Div":
        # A Softmax that is written out divides exponentials by their sum.
        return _exponential(node.inputs[0])
    if node.op_type not in MOVING:
        return []
    moved = node.inputs if node.op_type == "Concat" else node.inputs[:1]
    parts = [_sources(source) if source is not None else [] for source in moved]
    return [found for part in parts for found in part] if all(parts) else []


def _exponential(value: ir.Value | None) -> list[ir.Node]:
    node = value.producer() if value is not None else None
    return [node] if node is not None and node.op_type == "Exp" else []
