"""Compare the outputs of two runs: one measure for arrays, sequences and strings."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]

GOOD_DB, FAIR_DB = 20.0, 10.0
"""Output SQNR from which a quantised model is called good, and fair."""

# Rounding error of a value that is exactly zero without rounding.
_FLOOR = 1e-6


def disagreement(reference: Any, candidate: Any) -> tuple[float, str]:
    """Return the difference between an output and its reference, as a number and in words.

    Parameters
    ----------
    reference, candidate : ndarray, list or None
        Values that onnxruntime returns for one output.

    Returns
    -------
    float
        Norm of the difference relative to that of the reference; infinite if they cannot be compared.
    str
        The difference in words, as the end of a sentence about the candidate.
    """
    if isinstance(reference, list) and isinstance(candidate, list):
        if len(reference) != len(candidate):
            return np.inf, f"has {len(candidate)} elements, not {len(reference)}"
        pairs = [disagreement(a, b) for a, b in zip(reference, candidate, strict=True)]
        return max(pairs, default=(0.0, "is the same"))
    if not isinstance(reference, np.ndarray) or not isinstance(candidate, np.ndarray):
        same = type(reference) is type(candidate) and (reference is None or reference == candidate)
        return (0.0, "is the same") if same else (np.inf, "is of another kind")
    if reference.dtype != candidate.dtype:
        return np.inf, f"is {candidate.dtype}, not {reference.dtype}"
    if reference.shape != candidate.shape:
        return np.inf, f"has the shape {list(candidate.shape)}, not {list(reference.shape)}"
    if reference.dtype.kind in "OUS":
        same = bool((reference == candidate).all())
        return (0.0, "is the same") if same else (np.inf, "holds other strings")
    return _distance(reference, candidate)


def array_pairs(reference: Any, candidate: Any) -> list[tuple[Array, Array]] | None:
    """Pair the arrays of an output of two runs: one, those of a sequence, or none of an absent optional.

    Returns
    -------
    list of pair of array, or None
        None if the kinds, the lengths or the shapes differ.
    """
    if isinstance(reference, list) and isinstance(candidate, list):
        if len(reference) != len(candidate):
            return None
        found: list[tuple[Array, Array]] = []
        for pairs in map(array_pairs, reference, candidate):
            if pairs is None:
                return None
            found += pairs
        return found
    if isinstance(reference, np.ndarray) and isinstance(candidate, np.ndarray):
        return [(reference, candidate)] if reference.shape == candidate.shape else None
    return [] if reference is None and candidate is None else None


def _distance(reference: np.ndarray[Any, Any], candidate: np.ndarray[Any, Any]) -> tuple[float, str]:
    if np.array_equal(reference, candidate):
        return 0.0, "is the same"
    first, second = (array.astype(np.float64).reshape(-1) for array in (reference, candidate))
    finite = np.isfinite(first)
    if not np.array_equal(first[~finite], second[~finite], equal_nan=True):
        return np.inf, "is finite elsewhere"
    if not np.isfinite(second[finite]).all():
        return np.inf, "holds NaN or infinities"
    first, second = first[finite], second[finite]
    error = float(np.linalg.norm(first - second))
    size = max(float(np.linalg.norm(first)), _FLOOR * np.sqrt(first.size), np.finfo(np.float64).tiny)
    return error / size, f"differs by {error / size:.2g} of its magnitude"
