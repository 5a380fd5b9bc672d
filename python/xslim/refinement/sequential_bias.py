"""Bias correction by the measured activations of the quantised network, layer after layer.

Rounded activations shift the mean of a layer's output as rounded weights do, and the shifts of successive
layers add up. The float and the quantised network run on the same samples, layer by layer. At every layer,
the mean difference per output channel is added to the bias before the next layer runs. If all biases were
corrected at once, later layers would compensate errors that the corrected earlier layers no longer make.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019
(arXiv:1906.04721), appendix D (empirical bias correction).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.calibration.budget import output_bytes
from xslim.export.qdq import export_qdq
from xslim.graph.layers import layers
from xslim.graph.scheme import Quantization, QuantPlan
from xslim.quantization.bias_correction import add_to_bias
from xslim.refinement.candidate import Candidate, Material
from xslim.refinement.effort import LIVE_TENSORS
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
    return replace(start, model=model)


def _samples(start: Candidate, material: Material) -> list[Feeds]:
    """Choose samples for the fit, evenly spread, so few that the activations of a layer fit into memory."""
    data, effort = material.data, material.effort
    first = next(data.samples(workers=0))
    largest = max(output_bytes(material.reference, start.plan.observed, first).values(), default=1)
    affordable = effort.followed_bytes // (LIVE_TENSORS * largest)
    wanted = max(1, min(effort.followed_samples, affordable))
    step = max(1, data.runs * 3 // (4 * wanted))
    shown = data.samples(material.settings.batch_size, thread_count(), (0, step))
    holds_back = material.judge.split.holds_back
    fitted = (feeds for number, feeds in enumerate(shown) if not holds_back(number * step))
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
    corrected = model.clone()
    exported = export_qdq(model, plan, quantization, target)
    float_run, int8_run = Stepwise(reference, samples), Stepwise(exported, samples, qdq_as_written=True)
    wanted, outputs = _outputs(reference.graph), _outputs(exported.graph)
    weighted = {reader for constant in plan.constants if constant.symmetric for reader in constant.readers}
    found = layers(corrected.graph)
    for node in list(corrected.graph):
        layer = found.get(node.name or "")
        if layer is None or layer.node not in weighted or layer.node not in outputs:
            continue
        axis = 1 if layer.vectors.window is not None else -1
        name = outputs[layer.node]
        shift = _shift(float_run.reach(wanted[layer.node]), int8_run.reach(name), axis)
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


def _shift(wanted: Sequence[Array], found: Sequence[Array], axis: int) -> Vector:
    """Estimate the mean difference per channel, shrunk by its standard error.

    The standard error ``e`` of the mean difference ``d`` is computed from the means of single samples. The
    result is ``d * (1 - e^2 / d^2)``, or 0 if that factor is negative (the positive-part James-Stein
    estimator). Channels with infinite values, which a mask causes, are not shifted.
    """
    with np.errstate(invalid="ignore"):
        means = np.stack(
            [_mean(ours, axis) - _mean(theirs, axis) for ours, theirs in zip(wanted, found, strict=True)]
        )
    means[:, ~np.isfinite(means).all(axis=0)] = 0
    mean = means.mean(axis=0)
    chance = means.var(axis=0, ddof=1) / len(means) if len(means) > 1 else np.zeros_like(mean)
    shift: Vector = mean * np.clip(1.0 - chance / np.maximum(mean**2, TINY), 0.0, 1.0)
    return shift


def _mean(array: Array, axis: int) -> Vector:
    """Return the mean per channel over all positions."""
    rows = np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis])
    mean: Vector = rows.mean(axis=0, dtype=np.float64)
    return mean


def _add_along(array: Array, vector: Vector, axis: int) -> Array:
    shape = [1] * array.ndim
    shape[axis] = -1
    changed: Array = array + vector.reshape(shape).astype(array.dtype)
    return changed
