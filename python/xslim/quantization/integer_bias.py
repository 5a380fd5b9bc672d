"""Quantise biases to int32 in the scale of the accumulator: the input scale times the weight scale.

The accumulator must not overflow. In a channel whose weights are nearly zero, the scale is so small that the
bias may be too large for int32. Such a channel gets a larger weight scale; the coarser rounding of its
weights is negligible beside the bias. In a channel whose weights are all zero, the scale is free, and is made
so small that the bias is exact.

A bias that stays float needs such scales as well: onnxruntime and others round it to int32 when they fuse an
operator with its quantisers. Channels that training has pruned otherwise lose their bias.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.ops import constant, is_constant
from xslim.graph.scheme import ConstantPlan, Quantization, QuantizedTensor, QuantParams, QuantPlan
from xslim.targets import Target

logger = logging.getLogger(__name__)

QMAX = 127
ACCUMULATOR = 2**31 - 1
LARGEST_BIAS = 2**30
"""Largest magnitude of an int32 bias; the rest of the accumulator's range is left to the products."""

SMALLEST = float(np.finfo(np.float32).smallest_normal)

FloatArray = NDArray[np.float64]


def integer_biases(
    model: ir.Model, plan: QuantPlan, quantization: Quantization, target: Target, *, everywhere: bool
) -> Quantization:
    """Quantise the biases of int8 operators to int32.

    A bias stays float, and the log names it, if the model is float16, if the bias does not have one value per
    channel, or if it needs a larger weight scale and all channels share one scale.

    Parameters
    ----------
    model : onnx_ir.Model
        The float model that will be exported.
    plan, quantization
        The plan and its numbers.
    target : Target
        The table that names the bias input of each operator and the operators that need an int32 bias.
    everywhere : bool
        Whether all biases are quantised, and not only those of operators that run in integers only with an
        int32 bias.

    Returns
    -------
    Quantization
        The numbers with `biases`, and with larger weight scales where a bias would have overflowed.
    """
    constants, biases = dict(quantization.constants), dict(quantization.biases)
    problems: dict[str | None, str] = {}
    # Two rounds: if two operators share a weight, the second may enlarge scales that the first has used.
    for node, weight, bias in [*_candidates(model, plan, target)] * 2:
        wanted = everywhere or target.entry(node).needs_integer_bias
        source = node.inputs[0]
        params = quantization.activations.get(source.name or "") if source is not None else None
        if params is None or weight not in constants or bias.dtype != ir.DataType.FLOAT:
            if wanted:
                problems[node.name] = "its bias is not float32: it stays float"
            continue
        fitted = fit_bias(_values(bias), float(params.scale), constants[weight])
        if fitted is None:
            if wanted:
                problems[node.name] = "its bias does not fit int32: it stays float"
            continue
        stored, constants[weight], raised = fitted
        if not wanted:
            continue
        biases[node.name or ""] = stored
        if raised:
            problems[node.name] = f"weight scale raised in channels {raised} for the bias to fit int32"
    for name, problem in problems.items():
        logger.warning("%s: %s", name, problem)
    return replace(quantization, constants=constants, biases=biases)


def fit_bias(
    bias: FloatArray, input_scale: float, weight: QuantizedTensor
) -> tuple[QuantizedTensor, QuantizedTensor, list[int]] | None:
    """Quantise one bias to int32.

    Returns the bias, the weight with scales for which the bias fits, and the channels whose scale grew
    although they have weights.
    Returns None if the bias cannot be int32: several channels share a weight scale that would have to grow,
    the bias does not have one finite value per channel, or the sum of the products alone can overflow.
    """
    channels = weight.params.scale.size
    per_channel = weight.params.axis is not None
    if per_channel and (bias.size != channels or bias.shape[-1:] not in ((), (channels,))):
        return None
    flat = bias.reshape(-1)
    if not np.isfinite(flat).all():
        return None
    needed = np.abs(flat) / (input_scale * LARGEST_BIAS)
    old = np.broadcast_to(weight.params.scale.astype(np.float64), flat.shape)
    too_small = needed > old
    dead = np.broadcast_to(_is_zero(weight), flat.shape) & (needed > 0)
    if not per_channel:
        if dead.all():
            needed = np.full_like(needed, needed.max())
        elif too_small.any():
            return None
    new = too_small | dead
    scale = np.where(new, np.maximum(needed, SMALLEST), old).astype(np.float32)
    changed = weight
    if new.any():
        changed = _rescaled(weight, scale if per_channel else scale[:1].reshape(weight.params.scale.shape))
    if _largest_sum(changed) + LARGEST_BIAS > ACCUMULATOR:
        return None
    step = (input_scale * scale.astype(np.float64)).astype(np.float32)
    if not per_channel:
        step = step[:1].reshape(())
    values = np.rint(bias / step.reshape(-1 if per_channel else ())).astype(np.int32)
    axis = values.ndim - 1 if per_channel else None
    stored = QuantizedTensor(values, QuantParams(step, np.zeros(step.shape, np.int32), axis))
    return stored, changed, [int(index) for index in np.flatnonzero(too_small & ~dead)]


def _rescaled(weight: QuantizedTensor, scale: NDArray[np.float32]) -> QuantizedTensor:
    params = weight.params
    shape = [1] * weight.values.ndim
    shape[params.axis or 0] = -1
    ratio = params.scale.astype(np.float64).reshape(shape) / scale.astype(np.float64).reshape(shape)
    values = np.clip(np.rint(weight.values * ratio), -QMAX, QMAX).astype(np.int8)
    return QuantizedTensor(values, replace(params, scale=scale))


def _is_zero(weight: QuantizedTensor) -> NDArray[np.bool_]:
    """Whether all weights of each channel, or of the tensor, are zero."""
    if weight.params.axis is None:
        return np.asarray(not weight.values.any())
    others = tuple(axis for axis in range(weight.values.ndim) if axis != weight.params.axis)
    return np.asarray(~weight.values.any(axis=others))


def _largest_sum(weight: QuantizedTensor) -> int:
    """Return an upper bound of the magnitude of a channel's sum of products, for any input and zero point."""
    magnitude = np.abs(weight.values.astype(np.int64))
    axes = range(magnitude.ndim) if weight.params.axis is None else [weight.params.axis]
    return max(int(_sum_except(magnitude, axis).max(initial=0)) for axis in axes) * 255


def _sum_except(array: NDArray[np.int64], axis: int) -> NDArray[np.int64]:
    return np.asarray(array.sum(axis=tuple(index for index in range(array.ndim) if index != axis)))


def _candidates(
    model: ir.Model, plan: QuantPlan, target: Target
) -> Iterator[tuple[ir.Node, ConstantPlan, ir.Value]]:
    """Yield the int8 operators that have an int8 weight and a constant bias."""
    weights = {reader: item for item in plan.constants if item.symmetric for reader in item.readers}
    for node in model.graph:
        position = target.entry(node).bias_input
        weight = weights.get(node.name or "")
        if position is None or weight is None or position >= len(node.inputs):
            continue
        bias = node.inputs[position]
        if bias is not None and is_constant(bias):
            yield node, weight, bias


def _values(bias: ir.Value) -> FloatArray:
    array = constant(bias)
    assert array is not None
    return array.astype(np.float64)
