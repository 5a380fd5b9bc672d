"""Replace Slices that together cover one axis of a tensor by one Split."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from xslim.graph.editing import GraphEditor
from xslim.graph.ops import integers, is_standard, opset, rank

logger = logging.getLogger(__name__)

# The first opset in which the sizes of Split are an input.
_SIZES_AS_INPUT = 13


@dataclass(frozen=True)
class _Piece:
    """One Slice as the part ``start <= index < end`` of one axis."""

    node: ir.Node
    axis: int
    start: int
    end: int


def slices_to_split(model: ir.Model) -> int:
    """Replace the slices of a tensor that cover one axis exactly once by one Split.

    Not replaced are slices with a step, along several axes or with computed bounds, slices that overlap or
    leave a gap, and axes of unknown size: a Split cannot express them, or would compute parts that are not
    read.

    Returns
    -------
    int
        Number of new Split nodes.
    """
    if opset(model) < _SIZES_AS_INPUT:
        return 0
    made = 0
    for graph in model.graphs():
        for value in _sliced_values(graph):
            pieces = _tiling(value, graph)
            if pieces:
                _replace(graph, value, pieces)
                made += 1
    if made:
        logger.info("slices to Split: %d", made)
    return made


def _sliced_values(graph: ir.Graph) -> list[ir.Value]:
    """Return the values that several slices of this graph read, in the order of their first slices."""
    counts: dict[ir.Value, int] = {}
    for node in graph:
        if is_standard(node, "Slice") and node.inputs[0] is not None:
            counts[node.inputs[0]] = counts.get(node.inputs[0], 0) + 1
    return [value for value, count in counts.items() if count > 1]


def _tiling(value: ir.Value, graph: ir.Graph) -> list[_Piece]:
    """Return the slices that cover one axis exactly once, sorted; empty if they do not."""
    nodes = {
        use.node
        for use in value.uses()
        if use.idx == 0 and use.node.graph is graph and is_standard(use.node, "Slice")
    }
    pieces = [piece for node in nodes if (piece := _piece(node, value)) is not None]
    for axis in sorted({piece.axis for piece in pieces}):
        chosen = sorted((piece for piece in pieces if piece.axis == axis), key=lambda piece: piece.start)
        ends = [0, *(piece.end for piece in chosen)]
        size = value.shape[axis] if value.shape is not None else None
        starts = [piece.start for piece in chosen]
        if len(chosen) > 1 and ends[:-1] == starts and ends[-1] == size:
            return chosen
    return []


def _piece(node: ir.Node, value: ir.Value) -> _Piece | None:
    parameters = [integers(parameter) for parameter in node.inputs[1:5]]
    ndim = rank(value)
    if ndim is None or len(parameters) < 3 or any(not item or len(item) != 1 for item in parameters):
        return None
    start, end, axis, step = [item[0] for item in [*parameters, [1]][:4] if item]
    axis %= ndim
    size = value.shape[axis] if value.shape is not None else None
    if step != 1 or not isinstance(size, int):
        return None
    first, last, _ = slice(start, end).indices(size)
    return _Piece(node, axis, first, last) if first < last else None


def _replace(graph: ir.Graph, value: ir.Value, pieces: list[_Piece]) -> None:
    earliest = next(node for node in graph if any(piece.node is node for piece in pieces))
    sizes = np.array([piece.end - piece.start for piece in pieces], np.int64)
    parameter = GraphEditor(graph).constant(f"{value.name}.split", sizes)
    split = ir.node(
        "Split", [value, parameter], {"axis": pieces[0].axis}, num_outputs=len(pieces), name=earliest.name
    )
    graph.insert_before(earliest, split)
    for piece, output in zip(pieces, split.outputs, strict=True):
        old = piece.node.outputs[0]
        output.name, output.type, output.shape = old.name, old.type, old.shape
        ir.convenience.replace_all_uses_with(old, output, replace_graph_outputs=True)
        graph.remove(piece.node, safe=True)
