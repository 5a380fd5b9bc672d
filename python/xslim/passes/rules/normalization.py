"""Fuse normalisations that exporters write as arithmetic: layer, RMS, instance and group normalisation.

The patterns match one form only: squares are products, divisions by a root are Div, equal subtractions are
one node. `arithmetic` and common-subexpression elimination establish this form first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.ops import constant, integers, is_standard, producer, scalar
from xslim.passes.rules.base import (
    Refusal,
    Rule,
    add_constant,
    like,
    require_dim,
    require_float,
    require_rank,
    require_scalar,
    transposed,
)


def axes_of(mean: ir.Value, ndim: int) -> list[int]:
    """Axes of a reduction (attribute or input), counted from the front; refuse when they are not known."""
    node = producer(mean)
    if not node.attributes.get_int("keepdims", 1):
        raise Refusal("the reduction drops its axes")
    axes = node.attributes.get_ints("axes") if "axes" in node.attributes else None
    if axes is None:
        axes = integers(node.inputs[1]) if len(node.inputs) > 1 else None
    if not axes:
        raise Refusal("the axes of the reduction are not constant")
    return sorted(axis % ndim for axis in axes)


class Standardise(Rule):
    """``(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon)`` -> one normalisation without scale and bias.

    Must not fire when the two means run over different axes, when epsilon is no constant, or when an
    intermediate has other readers. Subclasses say which axes they take.
    """

    def pattern(self, op: Any, x: Any, epsilon: Any) -> Any:
        """The same difference on both sides of the division."""
        centred = op.Sub(x, op.ReduceMean(x, _allow_other_inputs=True, _outputs=["mean"]))
        variance = op.ReduceMean(op.Mul(centred, centred), _allow_other_inputs=True, _outputs=["variance"])
        return op.Div(centred, op.Sqrt(op.Add(variance, epsilon)), _outputs=["result"])

    def require(
        self, x: ir.Value, epsilon: ir.Value, mean: ir.Value, variance: ir.Value, **_: ir.Value
    ) -> None:
        """Both means over the same axes, and axes that this rule takes."""
        require_float(x)
        require_scalar(epsilon)
        ndim = require_rank(x)
        axes = axes_of(mean, ndim)
        if axes != axes_of(variance, ndim):
            raise Refusal("mean and variance run over different axes")
        self.require_axes(x, axes, ndim)

    def require_axes(self, x: ir.Value, axes: list[int], ndim: int) -> None:
        """Refuse axes that another rule takes."""
        raise NotImplementedError


def _is_spatial(axes: list[int], ndim: int) -> bool:
    return ndim >= 4 and axes == list(range(2, ndim))


def _require_trailing(x: ir.Value, axes: list[int], ndim: int) -> None:
    if axes != list(range(axes[0], ndim)):
        raise Refusal(f"the axes {axes} are not the last ones")
    if _is_spatial(axes, ndim):
        raise Refusal("the axes are those of an instance normalisation")
    for axis in axes:
        require_dim(x, axis)


def _ones(op: Any, x: ir.Value, result: ir.Value, axes: list[int], name: str) -> ir.Value:
    assert x.dtype is not None
    shape = [require_dim(x, axis) for axis in axes]
    return add_constant(op, producer(result), np.ones(shape, x.dtype.numpy()), f"{result.name}.{name}")


class LayerNorm(Standardise):
    """Over the last axes -> ``LayerNormalization``; also refuses axes of unknown size and spatial axes."""

    def require_axes(self, x: ir.Value, axes: list[int], ndim: int) -> None:
        """The last axes, of known size."""
        _require_trailing(x, axes, ndim)

    def rewrite(
        self, op: Any, x: ir.Value, epsilon: ir.Value, mean: ir.Value, result: ir.Value, **_: ir.Value
    ) -> Any:
        """A normalisation with scale 1; `AbsorbIntoNorm` absorbs scale and bias later."""
        axes = axes_of(mean, require_rank(x))
        scale = _ones(op, x, result, axes, "scale")
        return op.LayerNormalization(x, scale, axis=axes[0] - require_rank(x), epsilon=scalar(epsilon))


class ChannelLayerNorm(Standardise):
    """Over axis 1 of three or more -> Transpose, ``LayerNormalization``, Transpose back."""

    def require_axes(self, x: ir.Value, axes: list[int], ndim: int) -> None:
        """Channels only, with something after them, of known number."""
        if axes != [1] or ndim < 3:
            raise Refusal(f"the axes {axes} are not the channels")
        require_dim(x, 1)

    def rewrite(self, op: Any, x: ir.Value, epsilon: ir.Value, result: ir.Value, **_: ir.Value) -> Any:
        """Channels last, normalised, channels first again."""
        ndim = require_rank(x)
        last = transposed(op, x, [0, *range(2, ndim), 1])
        scale = _ones(op, x, result, [1], "scale")
        normed = like(op.LayerNormalization(last, scale, axis=-1, epsilon=scalar(epsilon)), last)
        return op.Transpose(normed, perm=[0, ndim - 1, *range(1, ndim - 1)])


class InstanceNorm(Standardise):
    """Over all spatial axes of (N, C, H, W, ...) -> ``InstanceNormalization``; channels must be known."""

    def require_axes(self, x: ir.Value, axes: list[int], ndim: int) -> None:
        """Every spatial axis."""
        if not _is_spatial(axes, ndim):
            raise Refusal(f"the axes {axes} are not the spatial ones")
        require_dim(x, 1)

    def rewrite(self, op: Any, x: ir.Value, epsilon: ir.Value, result: ir.Value, **_: ir.Value) -> Any:
        """Scale one, bias zero."""
        assert x.dtype is not None
        scale = _ones(op, x, result, [1], "scale")
        zeros = np.zeros(require_dim(x, 1), x.dtype.numpy())
        bias = add_constant(op, producer(result), zeros, f"{result.name}.bias")
        return op.InstanceNormalization(x, scale, bias, epsilon=scalar(epsilon))


class RMSNorm(Rule):
    """``x / sqrt(mean(x^2) + epsilon)`` -> ``RMSNormalization`` over the last axes.

    Must not fire when x is the difference from its own mean (that is a part of a layer normalisation), when
    the axes are not the last ones or of unknown size, or when epsilon is not constant.
    """

    def pattern(self, op: Any, x: Any, epsilon: Any) -> Any:
        """The root of the mean square."""
        square = op.ReduceMean(op.Mul(x, x), _allow_other_inputs=True, _outputs=["square"])
        return op.Div(x, op.Sqrt(op.Add(square, epsilon)), _outputs=["result"])

    def require(self, x: ir.Value, epsilon: ir.Value, square: ir.Value, **_: ir.Value) -> None:
        """Last axes, and no centred input."""
        require_float(x)
        require_scalar(epsilon)
        ndim = require_rank(x)
        _require_trailing(x, axes_of(square, ndim), ndim)
        above = x.producer()
        if above is not None and is_standard(above, "Sub") and _subtracts_mean(above):
            raise Refusal("the input is centred: a layer normalisation")

    def rewrite(self, op: Any, x: ir.Value, epsilon: ir.Value, square: ir.Value, result: ir.Value) -> Any:
        """Scale one."""
        axes = axes_of(square, require_rank(x))
        scale = _ones(op, x, result, axes, "scale")
        return op.RMSNormalization(x, scale, axis=axes[0] - require_rank(x), epsilon=scalar(epsilon))


def _subtracts_mean(node: ir.Node) -> bool:
    subtrahend = node.inputs[1].producer() if node.inputs[1] is not None else None
    return subtrahend is not None and is_standard(subtrahend, "ReduceMean")


class GroupNorm(Rule):
    """``Reshape(InstanceNormalization(Reshape(x, [N, G, -1])), shape of x)`` -> ``GroupNormalization``.

    Must not fire when the channels are unknown or not a multiple of the groups, when the shapes before and
    after differ, or when the inner scale or bias are not constant.
    """

    def pattern(self, op: Any, x: Any, grouped: Any, scale: Any, bias: Any, back: Any) -> Any:
        """Groups in, normalised as instances, groups out."""
        inner = op.Reshape(x, grouped, _outputs=["inner"])
        normed = op.InstanceNormalization(inner, scale, bias, _outputs=["normed"])
        return op.Reshape(normed, back, _outputs=["result"])

    def require(
        self, x: ir.Value, inner: ir.Value, scale: ir.Value, bias: ir.Value, result: ir.Value, **_: ir.Value
    ) -> None:
        """Groups divide the channels, and the outer shapes agree."""
        require_float(x)
        if x.shape is None or x.shape != result.shape:
            raise Refusal("the shape after is not the shape before")
        if require_rank(x) < 3 or require_rank(inner) != 3:
            raise Refusal("the groups are not (N, G, everything else)")
        if x.shape[0] != (inner.shape or [None])[0]:
            raise Refusal("the batch is part of the groups")
        if require_dim(x, 1) % require_dim(inner, 1):
            raise Refusal("the groups do not divide the channels")
        if constant(scale) is None or constant(bias) is None:
            raise Refusal("scale or bias is computed")

    def rewrite(
        self,
        op: Any,
        x: ir.Value,
        inner: ir.Value,
        scale: ir.Value,
        bias: ir.Value,
        normed: ir.Value,
        result: ir.Value,
        **_: ir.Value,
    ) -> Any:
        """The inner scale and bias, repeated for every channel of a group."""
        groups = require_dim(inner, 1)
        repeat = require_dim(x, 1) // groups
        epsilon = producer(normed).attributes.get_float("epsilon", 1e-5)
        parameters = [
            add_constant(op, producer(result), np.repeat(_array(value), repeat), f"{result.name}.{name}")
            for value, name in ((scale, "scale"), (bias, "bias"))
        ]
        return op.GroupNormalization(x, *parameters, num_groups=groups, epsilon=epsilon)


def _array(value: ir.Value) -> NDArray[Any]:
    array = constant(value)
    if array is None:
        raise Refusal(f"{value.name} is not constant")
    return array


# Axis of the parameters of each normalisation; None if scale and bias have the shape of the last axes.
_PARAMETER_AXIS: dict[str, int | None] = {
    "LayerNormalization": None,
    "RMSNormalization": None,
    "InstanceNormalization": 1,
    "GroupNormalization": 1,
}
_WITHOUT_BIAS = ("RMSNormalization",)


class AbsorbIntoNorm(Rule):
    """``normalisation(x) * c`` and ``normalisation(x) + c`` -> the normalisation with that scale or bias.

    Must not fire when the constant is computed, varies along other axes than the parameters, or the
    normalisation has other readers or computed parameters.
    """

    def __init__(self, norm: str, affine: str) -> None:
        super().__init__(f"Absorb{affine}Into{norm}")
        self._norm, self._affine = norm, affine

    def pattern(self, op: Any, x: Any, c: Any) -> Any:
        """The constant may stand first (see `orders`)."""
        normed = getattr(op, self._norm)(x, _allow_other_inputs=True, _outputs=["normed"])
        return getattr(op, self._affine)(normed, c, _outputs=["result"])

    def require(self, c: ir.Value, normed: ir.Value, **_: ir.Value) -> None:
        """The constant has the shape of the parameters."""
        node = producer(normed)
        if any(value.uses() for value in node.outputs[1:]):
            raise Refusal("mean or deviation are read")
        self._parameters(node, c)

    def rewrite(self, op: Any, c: ir.Value, normed: ir.Value, result: ir.Value, **_: ir.Value) -> Any:
        """The same normalisation with other parameters."""
        node = producer(normed)
        scale, bias = self._parameters(node, c)
        inputs = [node.inputs[0], add_constant(op, node, scale, f"{result.name}.scale")]
        if bias is not None:
            inputs.append(add_constant(op, node, bias, f"{result.name}.bias"))
        return op.op(node.op_type, *inputs, **node.attributes)

    def _parameters(self, node: ir.Node, c: ir.Value) -> tuple[NDArray[Any], NDArray[Any] | None]:
        assert node.inputs[1] is not None
        scale = _array(node.inputs[1])
        bias_value = node.inputs[2] if len(node.inputs) > 2 else None
        bias = None if bias_value is None else _array(bias_value)
        operand = self._operand(_array(c), scale, require_rank(node.outputs[0]))
        if self._affine == "Mul":
            return scale * operand, None if bias is None else bias * operand
        shift = np.broadcast_to(operand, scale.shape).astype(scale.dtype)
        return scale, np.ascontiguousarray(shift if bias is None else bias + shift)

    def _operand(self, array: NDArray[Any], scale: NDArray[Any], ndim: int) -> NDArray[Any]:
        axis = _PARAMETER_AXIS[self._norm]
        expected = [1] * ndim
        if axis is None:
            expected[ndim - scale.ndim :] = scale.shape
        else:
            expected[axis] = scale.size
        if array.size == 1 and array.ndim <= ndim:
            return array.reshape(())
        if array.ndim > ndim or [1] * (ndim - array.ndim) + list(array.shape) != expected:
            raise Refusal(f"a constant of shape {array.shape} is no parameter of {self._norm}")
        return array.reshape(scale.shape)


def _absorbing(norm: str) -> tuple[Any, ...]:
    affines = ("Mul",) if norm in _WITHOUT_BIAS else ("Mul", "Add")
    return tuple(rule for affine in affines for rule in AbsorbIntoNorm.orders(norm, affine))


layer_norm = (*LayerNorm.orders(), *ChannelLayerNorm.orders(), *_absorbing("LayerNormalization"))
instance_norm = (*InstanceNorm.orders(), *_absorbing("InstanceNormalization"))
group_norm = (GroupNorm.rule(), *_absorbing("GroupNormalization"))
rms_norm = (*RMSNorm.orders(), *_absorbing("RMSNormalization"))
