"""The comparison of board and PC as a page: the SQNR along the depth of the graph, and a table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from xslim.commands.board_dumps import TensorDifference

if TYPE_CHECKING:
    from jinja2 import Template

WIDTH, HEIGHT, MARGIN = 720, 260, 40
MOST_DB = 60.0


def dumps_page(rows: Sequence[TensorDifference], threshold: float, name: str) -> str:
    """Return the comparison as a self-contained HTML page; higher ratios than 60 dB are drawn at 60 dB."""
    first = next((row for row in rows if row.sqnr_db < threshold), None)
    return _template().render(
        rows=rows,
        first=first,
        threshold=threshold,
        name=name,
        points=[(*_place(place, row.sqnr_db, len(rows)), row) for place, row in enumerate(rows)],
        line=_place(0, threshold, len(rows))[1],
        width=WIDTH,
        height=HEIGHT,
        margin=MARGIN,
        most=MOST_DB,
    )


def _place(place: int, db: float, count: int) -> tuple[float, float]:
    across = MARGIN + (WIDTH - 2 * MARGIN) * place / max(1, count - 1)
    share = min(max(db, 0.0), MOST_DB) / MOST_DB
    return round(across, 1), round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * share, 1)


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    text = resources.files(__package__ or "xslim.commands").joinpath("board.html.j2").read_text("utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(text)
