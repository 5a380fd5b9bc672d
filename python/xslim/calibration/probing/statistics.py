"""Compare what reaches the BatchNormalizations of a model with the statistics that they learnt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.ops import is_standard

Doubles = NDArray[np.float64]

MOST_NORMS = 3
"""The first BatchNormalizations see the input most directly, and cost least to reach."""
FLOOR = 1e-3
"""Variances below this share of the median belong to channels that are dead in training as well."""


@dataclass(frozen=True)
class Norm:
    """A BatchNormalization: the tensor that it reads, and mean and variance of the channels in training."""

    tensor: str
    mean: Doubles
    variance: Doubles


def norms_of(model: ir.Model) -> list[Norm]:
    """Return the first BatchNormalizations of the main graph whose statistics are known."""
    found: list[Norm] = []
    for node in model.graph:
        if not is_standard(node, "BatchNormalization") or len(node.inputs) < 5 or node.inputs[0] is None:
            continue
        mean, variance = known(node.inputs[3]), known(node.inputs[4])
        if mean is not None and variance is not None and node.inputs[0].name:
            found.append(Norm(node.inputs[0].name, mean.astype(np.float64), variance.astype(np.float64)))
    return found[:MOST_NORMS]


def known(value: ir.Value | None) -> NDArray[np.generic] | None:
    """Return the value of an initializer (also of one that is listed as an input) or of a Constant node."""
    if value is None:
        return None
    if value.const_value is not None:
        return value.const_value.numpy()
    node = value.producer()
    if node is None:
        return None
    if is_standard(node, "Identity"):
        return known(node.inputs[0])
    given = node.attributes.get("value") if is_standard(node, "Constant") else None
    return given.as_tensor().numpy() if given is not None else None


def moments(arrays: Iterable[NDArray[np.generic]]) -> tuple[Doubles, Doubles]:
    """Return mean and variance of the channels (axis 1) over all arrays and positions."""
    sums: list[tuple[Doubles, Doubles]] = []
    for array in arrays:
        values = np.moveaxis(array, 1, 0).reshape(array.shape[1], -1).astype(np.float32, copy=False)
        squares = np.einsum("cp,cp->c", values, values, dtype=np.float64) / values.shape[1]
        sums.append((values.mean(axis=1, dtype=np.float64), squares))
    mean = np.mean([first for first, _ in sums], axis=0)
    return mean, np.maximum(np.mean([second for _, second in sums], axis=0) - np.square(mean), 0)


def distance(norm: Norm, mean: Doubles, variance: Doubles) -> float:
    """Return the mean Bhattacharyya distance of the channels, taken as normal distributions.

    0 means the same distribution; a factor of 2 in the scale is 0.1, a factor of 10 is 0.8.
    """
    floor = FLOOR * float(np.median(norm.variance)) + 1e-12
    here, there = variance + floor, norm.variance + floor
    both = here + there
    terms = np.square(mean - norm.mean) / (4 * both) + 0.5 * np.log(both / (2 * np.sqrt(here * there)))
    return float(terms.mean())


def total_distance(norms: Sequence[Norm], runs: Sequence[Sequence[NDArray[np.generic]]]) -> float:
    """Return the mean distance of all BatchNormalizations over the runs of a model."""
    return float(
        np.mean([distance(norm, *moments(run[index] for run in runs)) for index, norm in enumerate(norms)])
    )
