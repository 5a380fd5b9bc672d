"""Recognise samples of white noise, which calibrate nothing: real inputs have other ranges.

White noise has values that are independent of their neighbours. Pictures, sound and spectra do not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEAST_VALUES = 1024
"""With fewer values, a correlation of zero is no evidence."""
LEAST_SIZE, LEAST_SERIES = 8, 4096
"""Axes with fewer values are not examined, nor inputs with a single axis of fewer than 4096: embeddings and
states of recurrent models have no neighbours."""
CHANCE = 4.0
"""Number of standard deviations of the correlation of independent values, which is one over the root of their
number. Of all inputs of ten trained models from elsewhere, none is below 30."""


def looks_like_noise(samples: Sequence[Mapping[str, NDArray[Any]]], name: str) -> bool:
    """Whether an input holds white noise in all samples.

    Parameters
    ----------
    samples : sequence of feeds
        A few samples.
    name : str
        The input. Integers, vectors and inputs with less than `LEAST_VALUES` values never look like noise.
    """
    return bool(samples) and all(_is_white(np.asarray(sample[name])) for sample in samples)


def _is_white(array: NDArray[Any]) -> bool:
    if array.dtype.kind != "f" or array.size < LEAST_VALUES:
        return False
    axes = [axis for axis, size in enumerate(array.shape) if size >= LEAST_SIZE]
    if len(axes) == 1 and array.shape[axes[0]] < LEAST_SERIES:
        return False
    values = array.astype(np.float64)
    deviation = float(values.std())
    if not axes or not np.isfinite(deviation) or deviation == 0 or len(np.unique(array)) < array.size // 4:
        return False
    values = (values - values.mean()) / deviation
    return all(_correlation(values, axis) < CHANCE / np.sqrt(array.size) for axis in axes)


def _correlation(values: NDArray[np.float64], axis: int) -> float:
    """Return the magnitude of the correlation of neighbours along an axis."""
    moved = np.moveaxis(values, axis, -1)
    return abs(float((moved[..., 1:] * moved[..., :-1]).mean()))
