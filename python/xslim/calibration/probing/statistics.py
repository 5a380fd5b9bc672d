"""Compare what reaches the BatchNormalizations of a model with the statistics that they learnt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.editing import GraphEditor
from xslim.graph.ops import is_standard, rank
from xslim.graph.outputs import with_outputs

Doubles = NDArray[np.float64]

MOST_NORMS = 3
"""The first BatchNormalizations see the input most directly, and cost least to reach."""
TO_FLOAT = {"to": int(ir.DataType.FLOAT)}
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
        name, mean, variance = node.inputs[0].name, known(node.inputs[3]), known(node.inputs[4])
        usable = name and rank(node.inputs[0]) in (None, 4) and name not in {norm.tensor for norm in found}
        if usable and name and mean is not None and variance is not None:
            found.append(Norm(name, mean.astype(np.float64), variance.astype(np.float64)))
        if len(found) == MOST_NORMS:
            break
    return found


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


def distance(norm: Norm, mean: Doubles, variance: Doubles) -> float:
    """Return the mean Bhattacharyya distance of the channels, taken as normal distributions.

    0 means the same distribution; a factor of 2 in the scale is 0.1, a factor of 10 is 0.8.
    """
    floor = FLOOR * float(np.median(norm.variance)) + 1e-12
    here, there = variance + floor, norm.variance + floor
    both = here + there
    terms = np.square(mean - norm.mean) / (4 * both) + 0.5 * np.log(both / (2 * np.sqrt(here * there)))
    return float(terms.mean())


def with_moments(model: ir.Model, tensors: Sequence[str], keep: Sequence[str] = ()) -> ir.Model:
    """Return the model with some outputs as they are, then mean and mean square of the channels of tensors.

    The model averages by itself, so that no large tensor leaves the process that runs the model. It averages
    float32 numbers, because squares soon overflow in float16.
    """
    copy = with_outputs(model, [*keep, *tensors])
    editor = GraphEditor(copy.graph)
    kept, observed = copy.graph.outputs[: len(keep)], copy.graph.outputs[len(keep) :]
    averages: list[ir.Value] = []
    for value in observed:
        (wide,) = editor.node("Cast", [value], [f"{value.name}_wide"], attributes=TO_FLOAT)
        (square,) = editor.node("Mul", [wide, wide], [f"{value.name}_square"])
        for source in (wide, square):
            averages += editor.node("GlobalAveragePool", [source], [f"{source.name}_average"])
            averages[-1].type = ir.TensorType(ir.DataType.FLOAT)
    copy.graph.outputs[:] = [*kept, *averages]
    return copy


def moments(runs: Sequence[Sequence[NDArray[np.generic]]], first: int) -> tuple[Doubles, Doubles]:
    """Return mean and variance of the channels of a tensor over all runs of a model of `with_moments`.

    `first` is the index of its mean among the outputs.
    """
    means, squares = (np.mean([_per_channel(run[first + part]) for run in runs], axis=0) for part in (0, 1))
    return means, np.maximum(squares - np.square(means), 0)


def _per_channel(averages: NDArray[np.generic]) -> Doubles:
    """Return the mean of every channel over the images, or parts of images, that one run holds."""
    mean: Doubles = averages.astype(np.float64).reshape(*averages.shape[:2], -1).mean(axis=(0, 2))
    return mean


def total_distance(norms: Sequence[Norm], runs: Sequence[Sequence[NDArray[np.generic]]]) -> float:
    """Return the mean distance of all BatchNormalizations over runs of a model of `with_moments`."""
    return float(np.mean([distance(norm, *moments(runs, 2 * index)) for index, norm in enumerate(norms)]))
