"""Scale the channels of normalised activations alike, so that quantising them with one scale loses less.

The scale and bias of a normalisation tell how large each channel of its output is, without data. Each channel
is divided by a factor, and the rows of the weights behind are multiplied by it (SmoothQuant, Xiao et al.
2023, https://arxiv.org/abs/2211.10438), if that reduces the joint error of quantising activation and weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.editing import GraphEditor
from xslim.graph.ops import attribute, constant, is_standard, producer

Vector = NDArray[np.float64]

STRENGTHS = (0.0, 1.0)
"""Exponents to try: a channel is divided by its size to this power, so 0 means no scaling and 1 equal
channels. Exponents in between have a smaller estimated error but a larger error on real text: the estimate
assumes normal distributions, and those of text have heavier tails."""

REACH = 4.0
"""Assumed half-width of the range of a normalised channel, in standard deviations."""

SMALLEST_CHANNEL = 1e-3
"""Least size of a channel as a fraction of the largest; smaller channels are treated as this large."""


def channel_divisors(value: ir.Value | None, weights: Sequence[NDArray[np.float32]]) -> Vector | None:
    """Return the factors by which the channels of an activation should be divided.

    Parameters
    ----------
    value : onnx_ir.Value
        The activation that the matrix products read.
    weights : sequence of float32 array
        The matrices of these products, each of shape (channels, outputs).

    Returns
    -------
    float64 array of shape (channels,), or None
        Positive factors with geometric mean 1. None if the activation is not the output of a normalisation
        over its last axis, or if the factors would not reduce the error.
    """
    statistics = _statistics(value)
    if statistics is None or any(statistics[0].size != len(weight) for weight in weights):
        return None
    mean, deviation = statistics
    size = np.abs(mean) + deviation
    size = np.maximum(size, SMALLEST_CHANNEL * size.max())
    candidates = [_divisors(size, strength) for strength in STRENGTHS]
    errors = [_expected_error(divisors, mean, deviation, weights) for divisors in candidates]
    best = int(np.argmin(errors))
    return candidates[best] if best else None


def divide_normalization(editor: GraphEditor, value: ir.Value, divisors: Vector) -> None:
    """Divide the scale and bias of the normalisation that writes `value` by the factors."""
    node = producer(value)
    for position in (1, 2):
        old = node.inputs[position] if position < len(node.inputs) else None
        array = constant(old)
        if old is not None and array is not None:
            divided = (array.astype(np.float64) / divisors).astype(np.float32)
            node.replace_input_with(position, editor.constant(f"{old.name}_smoothed", divided))


def _statistics(value: ir.Value | None) -> tuple[Vector, Vector] | None:
    """Return the mean and the standard deviation of every channel of a normalised activation, or None."""
    node = value.producer() if value is not None else None
    if node is None or not is_standard(node, "LayerNormalization") or node.outputs[0] is not value:
        return None
    scale = constant(node.inputs[1])
    bias = constant(node.inputs[2]) if len(node.inputs) > 2 else None
    rank = len(value.shape) if value.shape is not None else None
    if (
        scale is None
        or scale.ndim != 1
        or attribute(node, "axis") not in (-1, None if rank is None else rank - 1)
    ):
        return None
    if bias is None and len(node.inputs) > 2 and node.inputs[2] is not None:
        return None
    mean = np.zeros(scale.size) if bias is None else bias.astype(np.float64).reshape(-1)
    deviation = np.abs(scale.astype(np.float64))
    usable = mean.size == scale.size and np.isfinite(mean).all() and np.isfinite(deviation).all()
    return (mean, deviation) if usable and np.any(mean**2 + deviation**2) else None


def _divisors(size: Vector, strength: float) -> Vector:
    powers = size**strength
    divisors: Vector = powers / np.exp(np.log(powers).mean())
    return divisors


def _expected_error(
    divisors: Vector, mean: Vector, deviation: Vector, weights: Sequence[NDArray[np.float32]]
) -> float:
    """Estimate the mean squared error of the products from uniform rounding of activation and weights.

    The activation has one step over the range of all its channels, the weights one step per output.
    """
    low = min(float(((mean - REACH * deviation) / divisors).min()), 0.0)
    high = max(float(((mean + REACH * deviation) / divisors).max()), 0.0)
    step = (high - low) / 255
    energy = float(((mean**2 + deviation**2) / divisors**2).sum())
    error = 0.0
    for weight in weights:
        scaled = weight * divisors[:, None].astype(np.float32)
        steps = np.abs(scaled).max(axis=0).astype(np.float64) / 127
        error += step**2 * float(np.vdot(scaled, scaled)) + energy * float((steps**2).sum())
    return error / 12
