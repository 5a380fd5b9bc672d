"""From sums and sketches to the numbers of the report."""

from __future__ import annotations

import math

import numpy as np

from xslim.analysis.report import Chosen, Errors, Range
from xslim.graph.scheme import QuantParams
from xslim.kernels import ErrorMetrics, Sketch

QMIN, QMAX = -128, 127
HISTOGRAM_BINS = 32
TAIL_BINS = 64
ENERGY_BINS = 8192
"""So fine that even a body of a thousandth of the range keeps its energy."""
BIN_WIDTH = 2.0**-8
"""More than the relative width of a sketch's bins: what a range must leave for the outermost ones."""


def errors_of(metrics: ErrorMetrics) -> Errors:
    """The measures that follow from sums."""
    return Errors(metrics.noise_ratio, metrics.sqnr_db, metrics.mse, metrics.cosine, metrics.max_abs_error)


def range_of(sketch: Sketch) -> Range:
    """Extremes of what a sketch has seen; (0, 0) when it has seen nothing finite."""
    return (0.0, 0.0) if sketch.is_empty else (sketch.min, sketch.max)


def histogram_of(sketch: Sketch) -> tuple[int, ...]:
    """Counts in 32 equal bins between the extremes; one value alone falls into the first bin."""
    low, high = range_of(sketch)
    if not low < high:
        return (sketch.count, *[0] * (HISTOGRAM_BINS - 1))
    counts = [int(count) for count in sketch.histogram(HISTOGRAM_BINS, low, high)]
    # The sketch's outermost bins reach a little beyond the exact extremes and are cut in proportion there.
    missing = sketch.count - sum(counts)
    below = min(missing, int(sketch.histogram(1, low - BIN_WIDTH * max(abs(low), abs(high)), low)[0]))
    counts[0] += below
    counts[-1] += missing - below
    return tuple(counts)


def chosen_of(params: QuantParams, sketch: Sketch, energy: float | None = None) -> Chosen:
    """The range that int8 covers, beside what a sketch has seen.

    Values beyond the middle of the outermost steps count as clipped: what is nearer is rounded. `energy` is
    that of `energy_of`, where it is known.
    """
    scale, zero_point = float(params.scale), int(params.zero_point)
    low, high = (QMIN - zero_point) * scale, (QMAX - zero_point) * scale
    above, noise_above = _beyond(sketch, high, high + scale / 2)
    below, noise_below = _beyond(sketch, low, low - scale / 2)
    count = sketch.count
    energy = energy_of(sketch) if energy is None else energy
    return Chosen(
        scale,
        zero_point,
        low,
        high,
        clipped=(above + below) / count if count else 0.0,
        clip_noise=(noise_above + noise_below) / energy if energy > 0 else 0.0,
    )


def relative_noise(params: QuantParams, sketch: Sketch) -> float:
    """Energy of rounding and clipping over that of the signal, estimated; 0 for a tensor of zeros."""
    energy = energy_of(sketch)
    if energy <= 0:
        return 0.0
    chosen = chosen_of(params, sketch, energy)
    return chosen.clip_noise + chosen.scale**2 / 12 * (sketch.count - sketch.zero_count) / energy


def energy_of(sketch: Sketch) -> float:
    """Sum of the squares of all values, estimated from the sketch within a few percent."""
    room = 1 + BIN_WIDTH
    low, high = range_of(sketch)
    return _energy(sketch, min(low, 0.0) * room, max(high, 0.0) * room, 0.0, ENERGY_BINS)[1]


def _beyond(sketch: Sketch, bound: float, edge: float) -> tuple[int, float]:
    """Number of the values beyond `edge`, and the sum of their squared distances from `bound`."""
    low, high = range_of(sketch)
    room = BIN_WIDTH * max(abs(low), abs(high))
    first, last = (edge, high + room) if edge > bound else (low - room, edge)
    return _energy(sketch, first, last, bound)


def _energy(
    sketch: Sketch, first: float, last: float, centre: float, bins: int = TAIL_BINS
) -> tuple[int, float]:
    """Number of the values from `first` to `last`, and the sum of their squared distances from `centre`."""
    if not first < last or not math.isfinite(last - first):
        return 0, 0.0
    counts = sketch.histogram(bins, first, last)
    width = (last - first) / bins
    middle = first - centre + width * (np.arange(bins) + 0.5)
    return int(counts.sum()), float(counts @ (middle**2 + width**2 / 12))
