"""Compute the numbers of the report from sums and sketches."""

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
"""Number of bins for energies: fine enough if most values lie within a thousandth of the range."""
BIN_WIDTH = 2.0**-8
"""Upper bound of the relative width of a sketch's bins, by which a range is widened to hold the outermost
bins."""


def errors_of(metrics: ErrorMetrics) -> Errors:
    """Compute the error measures from sums."""
    return Errors(metrics.noise_ratio, metrics.sqnr_db, metrics.mse, metrics.cosine, metrics.max_abs_error)


def range_of(sketch: Sketch) -> Range:
    """Return the extremes of a sketch's finite values, or (0, 0) if it has none."""
    return (0.0, 0.0) if sketch.is_empty else (sketch.min, sketch.max)


def histogram_of(sketch: Sketch) -> tuple[int, ...]:
    """Return counts in 32 equal bins between the extremes; if the extremes are equal, in the first bin."""
    low, high = range_of(sketch)
    if not low < high:
        return (sketch.count, *[0] * (HISTOGRAM_BINS - 1))
    counts = [int(count) for count in sketch.histogram(HISTOGRAM_BINS, low, high)]
    # The sketch's outermost bins reach beyond the exact extremes; the part of their counts there is missing.
    missing = sketch.count - sum(counts)
    below = min(missing, int(sketch.histogram(1, low - BIN_WIDTH * max(abs(low), abs(high)), low)[0]))
    counts[0] += below
    counts[-1] += missing - below
    return tuple(counts)


def chosen_of(params: QuantParams, sketch: Sketch, energy: float | None = None) -> Chosen:
    """Return the range that int8 covers, and the share and energy of the values that it clips.

    A value counts as clipped if it is more than half a step beyond the range; nearer values are rounded.
    `energy` is the result of `energy_of` if the caller knows it.
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
    """Estimate the noise of rounding and clipping over the signal energy; 0 for a tensor of zeros."""
    energy = energy_of(sketch)
    if energy <= 0:
        return 0.0
    chosen = chosen_of(params, sketch, energy)
    return chosen.clip_noise + chosen.scale**2 / 12 * (sketch.count - sketch.zero_count) / energy


def energy_of(sketch: Sketch) -> float:
    """Estimate the sum of the squares of all values from the sketch, within a few percent."""
    room = 1 + BIN_WIDTH
    low, high = range_of(sketch)
    return _energy(sketch, min(low, 0.0) * room, max(high, 0.0) * room, 0.0, ENERGY_BINS)[1]


def _beyond(sketch: Sketch, bound: float, edge: float) -> tuple[int, float]:
    """Return the number of values beyond `edge`, and the sum of their squared distances from `bound`."""
    low, high = range_of(sketch)
    room = BIN_WIDTH * max(abs(low), abs(high))
    first, last = (edge, high + room) if edge > bound else (low - room, edge)
    return _energy(sketch, first, last, bound)


def _energy(
    sketch: Sketch, first: float, last: float, centre: float, bins: int = TAIL_BINS
) -> tuple[int, float]:
    """Return the number of values from `first` to `last` and their sum of squared distances from `centre`."""
    if not first < last or not math.isfinite(last - first):
        return 0, 0.0
    counts = sketch.histogram(bins, first, last)
    width = (last - first) / bins
    middle = first - centre + width * (np.arange(bins) + 0.5)
    return int(counts.sum()), float(counts @ (middle**2 + width**2 / 12))
