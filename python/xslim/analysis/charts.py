"""Compute the coordinates of the report's charts; the HTML template draws them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from xslim.analysis.numbers import decibels
from xslim.analysis.report import SQNR_LIMIT, Errors, Range, TensorReport

TOP_DB, STEP_DB, LOWEST_DB = 60.0, 10.0, -30.0
MARGIN_LEFT, MARGIN_RIGHT, MARGIN_TOP, MARGIN_BOTTOM = 46.0, 12.0, 10.0, 30.0


@dataclass(frozen=True)
class Tick:
    """A labelled position on an axis."""

    position: float
    label: str


@dataclass(frozen=True)
class Mark:
    """One tensor in the chart."""

    x: float
    accumulated_y: float
    local_y: float
    row: int
    name: str
    accumulated: str
    local: str


@dataclass(frozen=True)
class DepthChart:
    """Error along the depth of the network, in pixels of the drawing."""

    kind: str
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    levels: tuple[Tick, ...]
    depths: tuple[Tick, ...]
    limit: float
    line: str
    marks: tuple[Mark, ...]


def depth_chart(tensors: Sequence[TensorReport], kind: str, width: float, height: float) -> DepthChart:
    """Place the tensors along the depth of the network; levels beyond 60 dB are drawn at 60 dB.

    Parameters
    ----------
    tensors : sequence of TensorReport
        Along the network.
    kind : str
        Name of the drawing.
    width, height : float
        Its size in pixels.
    """
    levels = [level_of(value) for row in tensors for value in (row.accumulated, row.local)]
    lowest = min([0.0, *levels])
    floor = STEP_DB * math.floor(lowest / STEP_DB)
    deepest = max([1, *(row.depth for row in tensors)])
    bottom, right = height - MARGIN_BOTTOM, width - MARGIN_RIGHT

    def x_of(depth: int) -> float:
        return round(MARGIN_LEFT + (right - MARGIN_LEFT) * max(depth, 0) / deepest, 1)

    def y_of(level: float) -> float:
        return round(MARGIN_TOP + (bottom - MARGIN_TOP) * (TOP_DB - level) / (TOP_DB - floor), 1)

    marks = tuple(
        Mark(
            x=x_of(row.depth),
            accumulated_y=y_of(level_of(row.accumulated)),
            local_y=y_of(level_of(row.local)),
            row=index,
            name=row.name,
            accumulated=decibels(row.accumulated.sqnr_db),
            local=decibels(row.local.sqnr_db),
        )
        for index, row in enumerate(tensors)
    )
    steps = range(int(floor), int(TOP_DB) + 1, int(STEP_DB) * 2)
    parts = 4
    depths = sorted({round(deepest * part / parts) for part in range(parts + 1)})
    return DepthChart(
        kind=kind,
        width=width,
        height=height,
        left=MARGIN_LEFT,
        right=right,
        top=MARGIN_TOP,
        bottom=bottom,
        levels=tuple(Tick(y_of(level), f"{level} dB") for level in steps),
        depths=tuple(Tick(x_of(depth), str(depth)) for depth in depths),
        limit=y_of(SQNR_LIMIT),
        line=" ".join(f"{mark.x},{mark.accumulated_y}" for mark in marks),
        marks=marks,
    )


def level_of(errors: Errors) -> float:
    """Limit an SQNR in dB to the range of the chart."""
    return TOP_DB if math.isnan(errors.sqnr_db) else min(TOP_DB, max(LOWEST_DB, errors.sqnr_db))


def spark(histogram: Sequence[int], height: float = 20.0, step: float = 3.0) -> str:
    """Path of a small histogram with logarithmic heights."""
    top = math.log1p(max([1, *histogram]))
    points = [f"M0,{height:g}"]
    for index, count in enumerate(histogram):
        y = height - height * math.log1p(count) / top
        points.append(f"V{y:.1f}H{step * (index + 1):g}")
    return "".join([*points, f"V{height:g}Z"])


def channel_bars(ranges: Sequence[Range], height: float = 24.0, step: float = 3.0) -> str:
    """Path of one bar per channel between its extremes; the tallest fills the height."""
    low = min([0.0, *(bounds[0] for bounds in ranges)])
    high = max([0.0, *(bounds[1] for bounds in ranges)])
    extent = (high - low) or 1.0
    bars = []
    for index, (first, last) in enumerate(ranges):
        top, bottom = (high - last) / extent * height, (high - first) / extent * height
        x = step * index
        bars.append(f"M{x:g},{top:.1f}h{step - 0.6:g}V{max(bottom, top + 0.4):.1f}h-{step - 0.6:g}z")
    return "".join(bars)


@dataclass(frozen=True)
class Bar:
    """One tensor in the list of local errors; `share` of the width is filled, in percent."""

    row: int
    name: str
    op_name: str
    op_type: str
    local: str
    share: float
    bad: bool


def error_bars(tensors: Sequence[TensorReport], most: int = 20) -> list[Bar]:
    """Return the tensors with the lowest local SQNR, the worst first; a full bar is 0 dB, an empty one 60."""
    order = sorted(range(len(tensors)), key=lambda index: (tensors[index].local.sqnr_db, index))[:most]
    return [
        Bar(
            row=index,
            name=tensors[index].name,
            op_name=tensors[index].op_name,
            op_type=tensors[index].op_type,
            local=decibels(tensors[index].local.sqnr_db),
            share=round(100 * (TOP_DB - max(0.0, level_of(tensors[index].local))) / TOP_DB, 1),
            bad=tensors[index].local.sqnr_db < SQNR_LIMIT,
        )
        for index in order
    ]


def outline(histogram: Sequence[int], top: int, height: float = 64.0, step: float = 4.0) -> str:
    """Path of a histogram with logarithmic heights, of which `top` values fill the height."""
    scale = height / math.log1p(max(1, top))
    steps = [f"V{height - scale * math.log1p(count):.1f}h{step:g}" for count in histogram]
    return "".join([f"M0,{height:g}", *steps, f"V{height:g}"])


def wave(extremes: Sequence[Range], height: float = 64.0, step: float = 1.0) -> str:
    """Path of a waveform that is given by the extremes of its columns; zero is in the middle."""
    largest = max((max(abs(low), abs(high)) for low, high in extremes), default=0.0) or 1.0
    middle, scale = height / 2, (height - 2) / (2 * largest)
    bars = [
        f"M{step * (index + 0.5):g},{middle - scale * high:.1f}v{max(scale * (high - low), 0.6):.1f}"
        for index, (low, high) in enumerate(extremes)
    ]
    return "".join(bars)
