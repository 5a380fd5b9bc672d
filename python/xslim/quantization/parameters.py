"""Compute scales and zero points from sketches, and int8 values from constants."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim import kernels, observers
from xslim.errors import DataError, InternalError
from xslim.graph.scheme import (
    ConstantPlan,
    Quantization,
    QuantizedTensor,
    QuantParams,
    QuantPlan,
    TensorGroup,
)

QMIN, QMAX = -128, 127


def find_parameters(model: ir.Model, plan: QuantPlan, sketches: Mapping[str, kernels.Sketch]) -> Quantization:
    """Search every scale and zero point of a plan.

    Parameters
    ----------
    model : onnx_ir.Model
        The prepared model, which holds the constants.
    plan : QuantPlan
        The plan: which tensors and constants are int8.
    sketches : mapping of str to Sketch
        One per tensor of ``plan.observed``.

    Returns
    -------
    Quantization
    """
    initializers = model.graph.initializers
    constants = {item: quantize_constant(initializers[item.tensor], item) for item in plan.constants}
    return Quantization(search_groups(plan.groups, sketches), constants)


def search_groups(
    groups: Iterable[TensorGroup], sketches: Mapping[str, kernels.Sketch]
) -> dict[str, QuantParams]:
    """Search the parameters of some groups and return them for all their tensors."""
    found: dict[str, QuantParams] = {}
    for group in groups:
        found.update(dict.fromkeys(group.tensors, activation_params(group, sketches)))
    return found


def activation_params(group: TensorGroup, sketches: Mapping[str, kernels.Sketch]) -> QuantParams:
    """Search the range of one group of tensors over the merged sketch of its members.

    Raises
    ------
    DataError
        The members have no finite value.
    """
    if group.fixed_range is not None:
        return _fixed_params(*group.fixed_range)
    merged = sketches[group.observed[0]].copy()
    for name in group.observed[1:]:
        merged.merge(sketches[name])
    if merged.is_empty:
        raise DataError(
            f"tensor {group.name!r} has no finite value on the calibration samples, so no scale fits it",
            hint="look at the samples and their preprocessing, or keep its operator float: ignore_op_names",
        )
    scale, zero_point = observers.search(merged, group.method, max_percentile=group.max_percentile)
    params = _per_tensor(scale, zero_point)
    return params if params.saturates_at(group.clamp) else _clamped(params, group.clamp)


def _clamped(params: QuantParams, clamp: tuple[float, float] | None) -> QuantParams:
    """Limit a range to the bounds of the activation function that the quantiser replaces."""
    assert clamp is not None
    low, high = params.span
    return _per_tensor(*kernels.range_params(max(low, clamp[0]), min(high, clamp[1])))


def quantize_constant(value: ir.Value, plan: ConstantPlan) -> QuantizedTensor:
    """Quantise a constant: weights symmetrically, per channel if the plan says so; others asymmetrically."""
    values = np.ascontiguousarray(array_of(value), np.float32)
    if not plan.symmetric:
        return _asymmetric(values)
    if plan.axis is None:
        quantized, scale = kernels.quantize_per_channel(values.reshape(1, -1), 0)
        return QuantizedTensor(quantized.reshape(values.shape), _per_tensor(float(scale[0]), 0))
    quantized, scale = kernels.quantize_per_channel(values, plan.axis)
    return QuantizedTensor(quantized, QuantParams(scale, np.zeros(scale.shape, np.int8), plan.axis))


def _asymmetric(values: NDArray[np.float32]) -> QuantizedTensor:
    sketch = kernels.Sketch()
    sketch.observe(values)
    scale, zero_point = observers.search(sketch, "minmax")
    return QuantizedTensor(kernels.quantize(values, scale, zero_point), _per_tensor(scale, zero_point))


def array_of(value: ir.Value) -> NDArray[Any]:
    """Return the array of an initializer."""
    if value.const_value is None:
        raise InternalError("a constant has lost its data", where=value.name)
    return value.const_value.numpy()


def params_of_range(low: float, high: float) -> QuantParams:
    """Return the parameters of a range that clips nothing between two finite numbers."""
    return _per_tensor(*kernels.range_params(low, high))


def _fixed_params(low: float, high: float) -> QuantParams:
    """Return the parameters of a known range: the scale is a power of two and the zero point is exact."""
    scale = (high - low) / (QMAX - QMIN + 1)
    zero_point = max(QMIN, min(QMAX, QMIN + math.floor(-low / scale + 0.5)))
    return _per_tensor(scale, zero_point)


def _per_tensor(scale: float, zero_point: int) -> QuantParams:
    return QuantParams(np.asarray(scale, np.float32), np.asarray(zero_point, np.int8))
