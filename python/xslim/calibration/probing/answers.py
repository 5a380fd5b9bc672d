"""Judge preprocessing by the answers of a model that has no BatchNormalization any more.

A network that sees what it was trained on gives answers that differ between images and stand out from their
own spread. Both are measured without regard to scale: a network without normalisation multiplies its outputs
by whatever the input is multiplied by, which says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.calibration.probing.statistics import known, moments
from xslim.graph.ops import is_standard

Doubles = NDArray[np.float64]

BIAS_SHARE = (0.02, 20.0)
"""Biases of a first layer weigh about as much as what they are added to. Where a candidate makes them weigh
less than the first or more than the second, the input has another scale than in training."""


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


def first_biased(model: ir.Model) -> tuple[str, Doubles] | None:
    """Return the output of the first convolution, and its bias; None where it has no bias."""
    for node in model.graph:
        if is_standard(node, "Conv"):
            bias = known(node.inputs[2]) if len(node.inputs) > 2 else None
            name = node.outputs[0].name
            usable = bias is not None and name and bool(np.any(bias))
            return (name, np.asarray(bias, np.float64)) if usable and name else None
    return None


def bias_share(bias: Doubles, outputs: Sequence[NDArray[np.generic]]) -> float:
    """Return the median bias of a convolution divided by the median deviation of its outputs."""
    _, variance = moments(outputs)
    deviation = float(np.median(np.sqrt(variance)))
    return float(np.median(np.abs(bias))) / deviation if deviation > 0 else float("inf")
