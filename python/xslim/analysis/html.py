"""The report as one self-contained HTML file: it needs no network and no other file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from importlib import resources
from typing import TYPE_CHECKING, Any

from xslim.analysis import numbers
from xslim.analysis.as_json import to_json
from xslim.analysis.charts import channel_bars, depth_chart, error_bars, outline, spark, wave
from xslim.analysis.facts import by_reason
from xslim.analysis.picture import graph_picture
from xslim.analysis.report import (
    COSINE_LIMIT,
    FIRST_THINGS_FIRST,
    SQNR_LIMIT,
    HistogramPair,
    Report,
    TensorReport,
    compared_words,
)
from xslim.analysis.words import PAGE_TEXTS, preprocessing
from xslim.texts import ENGLISH, Catalogue, catalogue

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATES = resources.files(__package__ or "xslim.analysis").joinpath("templates")
PAGE, EMBEDDED, SUMMARY = "report.html.j2", "embedded.html.j2", "summary.html.j2"
SUMMARY_BARS = 5


def to_html(report: Report, language: str = ENGLISH, *, embedded: bool = False) -> str:
    """Return the report as a self-contained HTML page.

    Names and texts are escaped. The data for the page's script are one JSON block. All ids begin with a mark
    of the report's contents, and all styles hold inside the report only: several reports fit one page.

    Parameters
    ----------
    report : Report
        The report.
    language : {"en", "zh"}
        The language of its texts.
    embedded : bool
        Whether to return an element for the page of a notebook instead of a page.
    """
    say = catalogue(language)
    tensors, constants = report.tensors, report.constants
    return render(
        EMBEDDED if embedded else PAGE,
        say,
        id=report_id(report),
        title=_title(report, say),
        compared=compared_words(report),
        report=report,
        charts=[depth_chart(tensors, "wide", 960, 300), depth_chart(tensors, "narrow", 360, 240)],
        bars=error_bars(tensors),
        picture=graph_picture(report),
        tensors=sorted(enumerate(tensors), key=lambda item: item[1].accumulated.sqnr_db),
        constants=sorted(constants, key=lambda row: row.errors.sqnr_db),
        pairs=sorted((row for row in constants if row.histograms), key=lambda row: row.errors.sqnr_db),
        float_groups=by_reason(report.float_operators),
        data=_embedded(
            {
                "tensors": [_tensor_data(row) for row in tensors],
                "texts": {name: say(text) for name, text in PAGE_TEXTS.items()},
            }
        ),
        script=_text("report.js"),
        first_things_first=FIRST_THINGS_FIRST,
        sqnr_limit=SQNR_LIMIT,
        cosine_limit=COSINE_LIMIT,
    )


def to_summary(report: Report, language: str = ENGLISH) -> str:
    """Return verdict, outputs, the worst tensors and the findings as an element for a notebook."""
    bars = error_bars(report.tensors, SUMMARY_BARS)
    return render(SUMMARY, catalogue(language), report=report, bars=bars)


def render(template: str, say: Catalogue, **values: object) -> str:
    """Fill in a template, with the styles of the report and the texts of a catalogue."""
    return _environment().get_template(template).render(_=say, style=_text("report.css"), **values)


def report_id(report: Report) -> str:
    """Return a mark of the report's contents, which begins the ids of its page."""
    return f"x{sha256(to_json(report).encode()).hexdigest()[:8]}"


def _title(report: Report, say: Catalogue) -> str:
    parts = [report.model.name, report.run.date, report.run.source, say("XSlim report")]
    return " \u2013 ".join(part for part in parts if part)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_text),
    )
    environment.filters |= {
        "short": numbers.short,
        "decibels": numbers.decibels,
        "count": numbers.count,
        "spark": spark,
        "wave": wave,
        "channel_bars": channel_bars,
        "share": numbers.share,
        "signed": numbers.signed,
        "json": numbers.pretty,
        "preprocessing": preprocessing,
    }
    environment.globals |= {"percent": numbers.percent, "outline": _outline}
    return environment


def _text(name: str) -> str:
    return TEMPLATES.joinpath(name).read_text("utf-8")


def _outline(histogram: Sequence[int], pair: HistogramPair) -> str:
    """Draw one of two histograms, which have one scale."""
    return outline(histogram, max((*pair.before, *pair.after)))


def _tensor_data(row: TensorReport) -> list[Any]:
    chosen = row.chosen
    return [row.histogram, row.float_range, [chosen.low, chosen.high], row.channels]


def _embedded(value: Any) -> str:
    """Return JSON in which no text can close the script element around it."""
    return json.dumps(numbers.plain(value), separators=(",", ":")).replace("<", "\\u003c")
