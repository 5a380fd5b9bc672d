"""Constants in float16: what fits, and what would become infinite or lose its digits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LARGEST = float(np.finfo(np.float16).max)

WORST_ROUNDING = 1e-6
"""Noise over signal energy. Rounding to 11 bits stays below 2^-22 = 2.4e-7; more means subnormal numbers."""

_SUBNORMAL_ERROR = 2.0**-25
"""Half the distance of subnormal float16 numbers."""


@dataclass(frozen=True)
class RangeProblem:
    """Why a constant must not be rounded to float16.

    Attributes
    ----------
    overflows : bool
        It would become infinite; otherwise it would be lost among subnormal numbers.
    reason : str
        For the log.
    """

    overflows: bool
    reason: str


def to_half(array: NDArray[np.generic]) -> NDArray[np.float16]:
    """Round to float16; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        return array.astype(np.float16)


def range_problem(array: NDArray[np.generic]) -> RangeProblem | None:
    """Find out whether a constant fits float16; infinities and NaN do, as they stay what they are."""
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
    # Where even an error of half the smallest step in every element would not show, no need to look closer.
    if array.size * _SUBNORMAL_ERROR**2 > WORST_ROUNDING * largest**2 and _is_lost(array):
        return RangeProblem(False, f"its constant, at most {largest:.4g}, is too small for fp16")
    return None


def _is_lost(array: NDArray[np.generic]) -> bool:
    exact = array[np.isfinite(array)].astype(np.float64)
    error = exact - to_half(exact)
    return bool(error @ error > WORST_ROUNDING * (exact @ exact))
