"""The graph as a drawing: blocks coloured by their error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xslim.analysis.blocks import Block, blocks_of
from xslim.analysis.graph import GraphNode
from xslim.analysis.layout import HEIGHT, WIDTH, lay_out
from xslim.analysis.numbers import decibels
from xslim.analysis.report import Errors, Report, TensorReport

BANDS = (10.0, 20.0, 30.0, 40.0)
"""SQNR in dB at which the colour changes."""
FLOAT, UNMEASURED = "f", "n"
MOST_LISTED = 8
MOST_LETTERS = 13


@dataclass(frozen=True)
class DrawnBlock:
    """One block of the drawing.

    Attributes
    ----------
    x, y : float
        Left upper corner.
    label : str
        Type of the operator with the worst error, and how many others are in the block.
    local, accumulated : str
        The lowest SQNR of the block, as text; empty if nothing in it is int8.
    local_band, accumulated_band : str
        Number of the colour from 0 (worst); ``f`` for float, ``n`` for int8 without a tensor of its own.
    row : int or None
        Row of the table of tensors for the worst operator.
    lines : tuple of str
        The operators of the block, with their errors.
    others : int
        Number of operators that `lines` leaves out.
    """

    x: float
    y: float
    label: str
    local: str
    accumulated: str
    local_band: str
    accumulated_band: str
    row: int | None
    lines: tuple[str, ...]
    others: int


@dataclass(frozen=True)
class GraphPicture:
    """The drawing; sizes in pixels."""

    width: float
    height: float
    block_width: float
    block_height: float
    edges: str
    blocks: tuple[DrawnBlock, ...]
    operators: int


def graph_picture(report: Report) -> GraphPicture | None:
    """Draw the graph of a report; None if the report has none."""
    if not report.graph:
        return None
    blocks = blocks_of(report.graph)
    layout = lay_out(blocks)
    drawn = tuple(
        _drawn(block, place, report.graph, report.tensors)
        for block, place in zip(blocks, layout.places, strict=True)
    )
    return GraphPicture(layout.width, layout.height, WIDTH, HEIGHT, layout.edges, drawn, len(report.graph))


def band(errors: Errors) -> str:
    """Return the number of the colour of an error, from 0 (worst) to 4."""
    return str(sum(errors.sqnr_db >= bound for bound in BANDS))


def _drawn(
    block: Block, place: tuple[float, float], nodes: Sequence[GraphNode], tensors: Sequence[TensorReport]
) -> DrawnBlock:
    members = [nodes[index] for index in block.members]
    rows = [node.row for node in members if node.row is not None]
    worst = min(rows, key=lambda row: tensors[row].local.sqnr_db, default=None)
    local = None if worst is None else tensors[worst].local
    accumulated = min((tensors[row].accumulated for row in rows), key=lambda e: e.sqnr_db, default=None)
    plain = UNMEASURED if any(node.int8 for node in members) else FLOAT
    shown = next((node for node in members if node.row == worst), members[0])
    return DrawnBlock(
        x=place[0],
        y=place[1],
        label=_label(shown.op_type, len(members) - 1),
        local="" if local is None else decibels(local.sqnr_db),
        accumulated="" if accumulated is None else decibels(accumulated.sqnr_db),
        local_band=plain if local is None else band(local),
        accumulated_band=plain if accumulated is None else band(accumulated),
        row=worst,
        lines=tuple(_line(node, tensors) for node in members[:MOST_LISTED]),
        others=max(0, len(members) - MOST_LISTED),
    )


def _label(op_type: str, others: int) -> str:
    more = f" +{others}" if others else ""
    room = MOST_LETTERS - len(more)
    return (op_type if len(op_type) <= room else f"{op_type[: room - 1]}…") + more


def _line(node: GraphNode, tensors: Sequence[TensorReport]) -> str:
    if node.row is None:
        return f"{node.name} ({node.op_type}{'' if node.int8 else ', float'})"
    row = tensors[node.row]
    levels = f"{decibels(row.local.sqnr_db)} / {decibels(row.accumulated.sqnr_db)}"
    return f"{node.name} ({node.op_type}): {levels}"
