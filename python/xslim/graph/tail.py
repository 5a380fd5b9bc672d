"""The tail of a graph: what follows the last learned layers."""

from __future__ import annotations

import math

import onnx_ir as ir

from xslim.graph.layers import layers
from xslim.graph.ops import constant, is_standard

FEWEST_WEIGHTS = 32
"""Least number of weights of a learned layer. The convolution of 16 weights with which YOLO computes the
expectation of a box's side is no learned layer."""


def tail_values(graph: ir.Graph) -> set[ir.Value]:
    """Return the values behind which no learned layer follows: the head of a model."""
    learned = {name for name, layer in layers(graph).items() if _size(graph, layer.weight) >= FEWEST_WEIGHTS}
    tail: set[ir.Value] = set()
    for node in reversed(graph):
        for output in node.outputs:
            users = [use.node for use in output.uses()]
            if all(user.name not in learned and tail.issuperset(user.outputs) for user in users):
                tail.add(output)
    return tail


def _size(graph: ir.Graph, weight: str) -> int:
    array = constant(graph.initializers[weight]) if weight in graph.initializers else None
    return math.prod(array.shape) if array is not None else FEWEST_WEIGHTS


def joined_outputs(graph: ir.Graph) -> set[str]:
    """Return the names of the outputs that join several results, with no learned layer behind the Concat."""
    tail = tail_values(graph)
    joined: set[ir.Value] = set()
    for node in graph:
        sources = [value for value in node.inputs if value is not None and value in joined]
        joins = is_standard(node, "Concat") and len(node.inputs) > 1
        joined.update(output for output in node.outputs if output in tail and (joins or sources))
    return {value.name or "" for value in graph.outputs if value in joined}
