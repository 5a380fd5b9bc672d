"""Bias correction by the measured activations of the quantised network, layer after layer.

Rounded activations shift the mean of a layer's output as rounded weights do, and the shifts of successive
layers add up. Both networks run on the same samples, the quantised one layer by layer. At every layer, the
mean difference per output channel is added to the bias before the next layer runs. If all biases were
corrected at once, later layers would compensate errors that the corrected earlier layers no longer make.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019
(arXiv:1906.04721), appendix D (empirical bias correction).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.calibration.budget import output_bytes
from xslim.calibration.collectors import Arrays
from xslim.calibration.runner import stream
from xslim.export.qdq import export_qdq
from xslim.graph.layers import layers
from xslim.graph.scheme import Quantization, QuantPlan
from xslim.quantization.bias_correction import add_to_bias
from xslim.refinement.candidate import Candidate, Material
from xslim.refinement.effort import FEWEST_FOLLOWED, LIVE_TENSORS
from xslim.runtime import Feeds, Stepwise, thread_count
from xslim.targets import Target

Array = NDArray[Any]
Vector = NDArray[np.float64]

TINY = 1e-30


def follow(start: Candidate, material: Material) -> Candidate:
    """Correct biases by the measured activations of the quantised network."""
    samples = _samples(start, material)
    model = correct_biases_in_sequence(
        material.reference, start.model, start.plan, start.quantization, material.target, samples
    )
    return start if model is start.model else replace(start, model=model)


def _samples(start: Candidate, material: Material) -> list[Feeds]:
    """Choose samples for the fit, evenly spread, so few that the activations of a layer fit into memory."""
    data, effort = material.data, material.effort
    first = next(data.samples(workers=0))
    largest = max(output_bytes(material.reference, start.plan.observed, first).values(), default=1)
    affordable = effort.followed_bytes // (LIVE_TENSORS * largest)
    inputs = max(1, sum(array.size for array in first.values()))
    quick = max(FEWEST_FOLLOWED, effort.followed_inputs // inputs)
    wanted = max(1, min(effort.followed_samples, quick, affordable))
    step = max(1, data.runs * 3 // (4 * wanted))
    shown = data.samples(material.settings.batch_size, thread_count(), (0, step))
    may_judge = material.judge.split.may_judge
    fitted = (feeds for number, feeds in enumerate(shown) if not may_judge(number * step))
    return list(islice(fitted, wanted))


def correct_biases_in_sequence(
    reference: ir.Model,
    model: ir.Model,
    plan: QuantPlan,
    quantization: Quantization,
    target: Target,
    samples: Sequence[Feeds],
) -> ir.Model:
    """Return a copy of the model whose biases make the mean of every layer's output equal the float model's.

    The model itself is returned if none of its int8 operators is a layer with a known layout of weights.

    Parameters
    ----------
    reference : onnx_ir.Model
        The float model.
    model : onnx_ir.Model
        The same model, whose biases may have been corrected already.
    plan, quantization
        The plan and its numbers.
    target : Target
        The table that names the bias input of each operator.
    samples : sequence of feeds
        The samples; both networks run on one at a time.
    """
    exported = export_qdq(model, plan, quantization, target)
    wanted, outputs = _outputs(reference.graph), _outputs(exported.graph)
    weighted = {reader for constant in plan.constants if constant.symmetric for reader in constant.readers}
    axes = {
        name: 1 if layer.vectors.window is not None else -1
        for name, layer in layers(model.graph).items()
        if name in weighted and name in outputs
    }
    if not axes:
        return model
    means = _Means({wanted[name]: axis for name, axis in axes.items()})
    stream(reference, [means], samples)
    int8_run = Stepwise(exported, samples, qdq_as_written=True)
    corrected = model.clone()
    for node in list(corrected.graph):
        if node.name not in axes:
            continue
        name, axis = outputs[node.name], axes[node.name]
        found = [mean_of_channels(array, axis) for array in int8_run.reach(name)]
        with np.errstate(invalid="ignore"):
            differences = np.stack(means.rows[wanted[node.name]]) - np.stack(found)
        shift = certain_shift(differences)
        bias = add_to_bias(node, target, plan, shift)
        if bias is None:
            continue
        if bias in node.inputs:
            int8_run.change(name, partial(_add_along, vector=shift, axis=axis))
        elif bias.const_value is not None:
            int8_run.set_constant(bias.name or "", bias.const_value.numpy())
    return corrected


def _outputs(graph: ir.Graph) -> dict[str, str]:
    return {node.name or "": node.outputs[0].name or "" for node in graph}


class _Means:
    """Collects the mean per channel of every sample."""

    def __init__(self, axes: Mapping[str, int]) -> None:
        self._axes = dict(axes)
        self.rows: dict[str, list[Vector]] = {name: [] for name in axes}

    @property
    def tensors(self) -> Sequence[str]:
        return list(self._axes)

    def update(self, arrays: Arrays) -> None:
        for name, axis in self._axes.items():
            self.rows[name].append(mean_of_channels(arrays[name], axis))


def certain_shift(differences: Vector) -> Vector:
    """Estimate the mean difference per channel, shrunk by its standard error.

    The standard error ``e`` of the mean difference ``d`` is computed from the means of single samples. The
    result is ``d * (1 - e^2 / d^2)``, or 0 if that factor is negative (the positive-part James-Stein
    estimator). Channels with infinite values, which a mask causes, are not shifted.

    Parameters
    ----------
    differences : float64 array, shape (samples, channels)
        Mean of every channel in the float network, minus that in the quantised network.
    """
    means = np.where(np.isfinite(differences).all(axis=0), differences, 0.0)
    mean = means.mean(axis=0)
    chance = means.var(axis=0, ddof=1) / len(means) if len(means) > 1 else np.zeros_like(mean)
    shift: Vector = mean * np.clip(1.0 - chance / np.maximum(mean**2, TINY), 0.0, 1.0)
    return shift


def mean_of_channels(array: Array, axis: int) -> Vector:
    """Return the mean per channel over all positions."""
    others = tuple(index for index in range(array.ndim) if index != axis % array.ndim)
    mean: Vector = array.mean(axis=others, dtype=np.float64)
    return mean


def _add_along(array: Array, vector: Vector, axis: int) -> Array:
    shape = [1] * array.ndim
    shape[axis] = -1
    changed: Array = array + vector.reshape(shape).astype(array.dtype)
    return changed
