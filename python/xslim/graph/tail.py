"""The tail of a graph: what follows the last learned layers."""

from __future__ import annotations

import math

import onnx_ir as ir

from xslim.graph.layers import layers
from xslim.graph.ops import constant

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
