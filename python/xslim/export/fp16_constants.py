"""Check whether constants fit float16, or would become infinite or lose too much precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LARGEST = float(np.finfo(np.float16).max)

WORST_ROUNDING = 1e-6
"""Largest accepted noise over signal energy. Rounding to 11 bits stays below 2^-22 = 2.4e-7; the noise is
larger if many values become subnormal."""

_SUBNORMAL_ERROR = 2.0**-25
"""Largest rounding error of subnormal float16 numbers: half the distance between two of them."""


@dataclass(frozen=True)
class RangeProblem:
    """Why a constant must not be rounded to float16.

    Attributes
    ----------
    overflows : bool
        Whether the constant would become infinite; otherwise it would lose precision among subnormal numbers.
    reason : str
        The reason in words, for the log.
    """

    overflows: bool
    reason: str


def to_half(array: NDArray[np.generic]) -> NDArray[np.float16]:
    """Round to float16; values that are too large become infinite."""
    with np.errstate(over="ignore"):
        return array.astype(np.float16)


def range_problem(array: NDArray[np.generic]) -> RangeProblem | None:
    """Return why a constant does not fit float16, or None if it does; infinities and NaN fit."""
    if not array.size:
        return None
    low, high = float(array.min()), float(array.max())
    if not np.isfinite(low + high):
        finite = array[np.isfinite(array)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    largest = max(-low, high)
    if largest > LARGEST:
        extreme = low if -low == largest else high
        return RangeProblem(True, f"its constant {extreme:.4g} is outside the range of fp16")
    # If the largest rounding error in every element is still small enough, the exact check is not needed.
    if array.size * _SUBNORMAL_ERROR**2 > WORST_ROUNDING * largest**2 and _is_lost(array):
        return RangeProblem(False, f"its constant, at most {largest:.4g}, is too small for fp16")
    return None


def _is_lost(array: NDArray[np.generic]) -> bool:
    exact = array[np.isfinite(array)].astype(np.float64)
    error = exact - to_half(exact)
    return bool(error @ error > WORST_ROUNDING * (exact @ exact))
