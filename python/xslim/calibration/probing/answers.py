"""Judge preprocessing by the answers of a model that has no BatchNormalization any more.

A network that sees what it was trained on gives answers that differ between images and stand out from their
own spread. Both are measured without regard to scale: a network without normalisation multiplies its outputs
by whatever the input is multiplied by, which says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


def class_answers(outputs: Sequence[NDArray[np.generic]]) -> Doubles:
    """Return how far the best answer of each image exceeds the mean answer, in deviations of all answers."""
    values = np.stack([np.asarray(output, np.float64).reshape(-1) for output in outputs])
    spread = float(values.std())
    if not np.isfinite(spread) or spread == 0:
        return np.zeros(len(values))
    best: Doubles = ((values - values.mean(axis=0)) / spread).max(axis=1)
    return best


def row_answers(outputs: Sequence[NDArray[np.generic]]) -> Doubles:
    """Return the mean of the largest probability of all positions, for outputs of Softmax."""
    return np.array([float(np.asarray(output, np.float64).max(axis=-1).mean()) for output in outputs])


def box_answers(outputs: Sequence[NDArray[np.generic]], columns: Sequence[int]) -> Doubles:
    """Return the score of the best box of each image: the sum of its columns that are probabilities."""
    chosen = [np.asarray(output, np.float64).reshape(-1, output.shape[-1])[:, columns] for output in outputs]
    return np.array([scores.sum(axis=1).max() for scores in chosen])


def probability_columns(outputs: Sequence[NDArray[np.generic]]) -> list[int]:
    """Return the columns of the last axis whose values are between 0 and 1 in all outputs."""
    flat = [np.asarray(output).reshape(-1, output.shape[-1]) for output in outputs]
    low = np.min([values.min(axis=0) for values in flat], axis=0)
    high = np.max([values.max(axis=0) for values in flat], axis=0)
    return [int(column) for column in np.flatnonzero((low >= 0) & (high <= 1))]
