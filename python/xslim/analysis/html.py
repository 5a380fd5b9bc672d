"""The report as one self-contained HTML file: it needs no network and no other file."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from xslim.analysis import numbers
from xslim.analysis.charts import channel_bars, depth_chart, spark
from xslim.analysis.report import (
    COSINE_LIMIT,
    FAIR_DB,
    FIRST_THINGS_FIRST,
    SQNR_LIMIT,
    Report,
    compared_words,
)

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = resources.files(__package__ or "xslim.analysis").joinpath("templates")


def to_html(report: Report) -> str:
    """Return the report as a self-contained HTML page.

    Names and texts are escaped. The data for the page's script are one JSON block.
    """
    template = _environment().from_string(_text("report.html.j2"))
    return template.render(
        compared=compared_words(report),
        report=report,
        charts=[
            depth_chart(report.tensors, "wide", 960, 300),
            depth_chart(report.tensors, "narrow", 360, 240),
        ],
        tensors=sorted(enumerate(report.tensors), key=lambda item: item[1].accumulated.sqnr_db),
        constants=sorted(report.constants, key=lambda row: row.errors.sqnr_db),
        data=_embedded({"tensors": [_tensor_data(row) for row in report.tensors]}),
        style=_text("report.css"),
        script=_text("report.js"),
        first_things_first=FIRST_THINGS_FIRST,
        sqnr_limit=SQNR_LIMIT,
        cosine_limit=COSINE_LIMIT,
        fair_db=FAIR_DB,
    )


@cache
def _environment() -> Environment:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "short": numbers.short,
        "decibels": numbers.decibels,
        "count": numbers.count,
        "spark": spark,
        "channel_bars": channel_bars,
        "share": numbers.share,
        "json": numbers.pretty,
    }
    environment.globals["percent"] = numbers.percent
    return environment


def _text(name: str) -> str:
    return TEMPLATES.joinpath(name).read_text("utf-8")


def _tensor_data(row: Any) -> list[Any]:
    chosen = row.chosen
    return [row.histogram, row.float_range, [chosen.low, chosen.high], row.channels]


def _embedded(value: Any) -> str:
    """Return JSON in which no text can close the script element around it."""
    return json.dumps(numbers.plain(value), separators=(",", ":")).replace("<", "\\u003c")
