"""Place the blocks of a graph in layers: depth by the longest path, order by barycentres.

After K. Sugiyama, S. Tagawa and M. Toda, "Methods for Visual Understanding of Hierarchical System
Structures", IEEE Transactions on Systems, Man and Cybernetics 11 (1981). An edge over several layers
passes through a narrow place in each of them; all edges of a block share these places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xslim.analysis.blocks import Block

WIDTH, HEIGHT = 156.0, 30.0
GAP, ROW = 12.0, 52.0
PASSAGE = 6.0
"""Width that an edge takes where it passes a layer."""
SWEEPS, MOVES = 6, 4
MARGIN = 8.0


@dataclass(frozen=True)
class Layout:
    """Positions in pixels.

    Attributes
    ----------
    places : tuple of (x, y)
        Left upper corner of every block.
    edges : str
        All edges as one SVG path.
    width, height : float
        Size of the drawing.
    """

    places: tuple[tuple[float, float], ...]
    edges: str
    width: float
    height: float


@dataclass(frozen=True)
class _Layered:
    """Blocks, and passages of edges behind them, in layers."""

    layers: list[list[int]]
    depth: list[int]
    links: list[tuple[int, int]]
    blocks: int

    def width(self, item: int) -> float:
        return WIDTH if item < self.blocks else PASSAGE


def lay_out(blocks: Sequence[Block]) -> Layout:
    """Place blocks, which must be in topological order."""
    graph = _layered(blocks)
    above, below = _neighbours(graph)
    for sweep in range(SWEEPS):
        _order(graph, below if sweep % 2 else above, upwards=bool(sweep % 2))
    centres = _centres(graph, above, below)
    left = min((centres[item] - graph.width(item) / 2 for item in range(len(centres))), default=0.0) - MARGIN
    right = max((centres[item] + graph.width(item) / 2 for item in range(len(centres))), default=0.0) + MARGIN
    centres = [round(centre - left, 1) for centre in centres]
    tops = [round(MARGIN + depth * ROW, 1) for depth in graph.depth]
    places = tuple((round(centres[item] - WIDTH / 2, 1), tops[item]) for item in range(len(blocks)))
    height = 2 * MARGIN + max(1, len(graph.layers)) * ROW - (ROW - HEIGHT)
    return Layout(places, _path(graph, centres, tops), round(right - left, 1), height)


def _layered(blocks: Sequence[Block]) -> _Layered:
    depth = [0] * len(blocks)
    for index, block in enumerate(blocks):
        for reader in block.readers:
            depth[reader] = max(depth[reader], depth[index] + 1)
    fed = {reader for block in blocks for reader in block.readers}
    for index, block in enumerate(blocks):
        if index not in fed and block.readers:
            # What reads only constants stands right before its first reader.
            depth[index] = min(depth[reader] for reader in block.readers) - 1
    links: list[tuple[int, int]] = []
    for index, block in enumerate(blocks):
        last, at = index, depth[index]
        for reader in sorted(block.readers, key=lambda item: (depth[item], item)):
            while at < depth[reader] - 1:
                at += 1
                links.append((last, len(depth)))
                last = len(depth)
                depth.append(at)
            links.append((last, reader))
    layers: list[list[int]] = [[] for _ in range(max(depth, default=-1) + 1)]
    for item, level in enumerate(depth):
        layers[level].append(item)
    return _Layered(layers, depth, links, len(blocks))


def _neighbours(graph: _Layered) -> tuple[list[list[int]], list[list[int]]]:
    above: list[list[int]] = [[] for _ in graph.depth]
    below: list[list[int]] = [[] for _ in graph.depth]
    for upper, lower in graph.links:
        above[lower].append(upper)
        below[upper].append(lower)
    return above, below


def _order(graph: _Layered, neighbours: Sequence[Sequence[int]], *, upwards: bool) -> None:
    """Sort every layer by the mean place of the neighbours in the layer before."""
    place = {item: index / len(layer) for layer in graph.layers for index, item in enumerate(layer)}
    for layer in reversed(graph.layers) if upwards else graph.layers:
        key = {item: _mean([place[other] for other in neighbours[item]], place[item]) for item in layer}
        layer.sort(key=lambda item: (key[item], place[item]))
        place |= {item: index / len(layer) for index, item in enumerate(layer)}


def _centres(graph: _Layered, above: Sequence[Sequence[int]], below: Sequence[Sequence[int]]) -> list[float]:
    """Return the horizontal centre of every item, near its neighbours and without overlap."""
    centres = [0.0] * len(graph.depth)
    for move in range(2 * MOVES):
        neighbours, layers = (below, graph.layers[::-1]) if move % 2 else (above, graph.layers)
        for layer in layers:
            wanted = [_mean([centres[other] for other in neighbours[item]], centres[item]) for item in layer]
            for item, centre in zip(layer, _apart(graph, layer, wanted), strict=True):
                centres[item] = centre
    return centres


def _apart(graph: _Layered, layer: Sequence[int], wanted: Sequence[float]) -> list[float]:
    """Keep the order and the distances of a layer with the least squared movement (isotonic regression)."""
    offsets, at = [], 0.0
    for index, item in enumerate(layer):
        if index:
            at += (graph.width(layer[index - 1]) + graph.width(item)) / 2 + GAP
        offsets.append(at)
    pools: list[tuple[float, int]] = []
    for centre, offset in zip(wanted, offsets, strict=True):
        total, count = centre - offset, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            before, number = pools.pop()
            total, count = total + before, count + number
        pools.append((total, count))
    moved = [total / count for total, count in pools for _ in range(count)]
    return [start + offset for start, offset in zip(moved, offsets, strict=True)]


def _path(graph: _Layered, centres: Sequence[float], tops: Sequence[float]) -> str:
    """Return one curve for each link, and a line through each passage."""
    parts = []
    for upper, lower in graph.links:
        start, end = tops[upper] + HEIGHT, tops[lower]
        middle = (start + end) / 2
        x, to = centres[upper], centres[lower]
        parts.append(f"M{x:g},{start:g}C{x:g},{middle:g} {to:g},{middle:g} {to:g},{end:g}")
    for item in range(graph.blocks, len(graph.depth)):
        parts.append(f"M{centres[item]:g},{tops[item]:g}v{HEIGHT:g}")
    return "".join(parts)


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default
