"""Fold an affine operation per channel behind a compute operator into the operator's weight and bias.

Pattern: ``affine(compute(x, W[, b]))`` where *compute* is Conv, ConvTranspose, Gemm or MatMul with constant
weights and *affine* is BatchNormalization, Mul, Add, Sub or Div by a constant that varies at most along the
output channels. Then ``affine(W * x + b) = (scale * W) * x + (scale * b + shift)``.

Must not fire when

- the compute operator's output is read elsewhere or is an output: it would change there;
- the constant varies along another axis, or broadcasting enlarges the result;
- the weight has other readers and would have to change: shared weights stay shared;
- the operands of Div are reversed (``c / conv`` is not affine), or a scale is not finite;
- BatchNormalization is in training mode or its statistics are outputs that are read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnxscript.rewriter import RewriteRule

from xslim.graph.linear import LAYOUTS
from xslim.graph.ops import constant, producer, rank
from xslim.passes.rules.base import Refusal, Rule, add_constant, like

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Affine:
    """``y = scale * x + shift``; both of shape ``(channels,)`` or ``(1,)``, or None for no scale or shift."""

    scale: Floats | None
    shift: Floats | None


def _operand(node: ir.Node, data: ir.Value, channels: int, axis: int) -> Floats:
    """Return the constant operand beside `data` as one number per channel."""
    ndim = rank(data)
    other = node.inputs[1] if node.inputs[0] is data else node.inputs[0]
    array = constant(other)
    if array is None:
        raise Refusal(f"{other.name if other else 'an operand'} is not constant")
    if array.size == 1 and (ndim is None or array.ndim <= ndim):
        return array.reshape(1).astype(np.float64)
    if ndim is None or array.ndim > ndim:
        raise Refusal("the constant may enlarge the result")
    expected = [1] * ndim
    expected[axis] = channels
    if [1] * (ndim - array.ndim) + list(array.shape) != expected:
        raise Refusal(f"the constant of shape {array.shape} varies along more than the channels")
    return array.reshape(channels).astype(np.float64)


def _batch_norm(node: ir.Node, data: ir.Value, channels: int, axis: int) -> Affine:
    if node.attributes.get_int("training_mode", 0) or any(value.uses() for value in node.outputs[1:]):
        raise Refusal("BatchNormalization trains")
    if axis == -1 and rank(data) != 2:
        raise Refusal("the channels of BatchNormalization are not the columns of the product")
    arrays = [constant(value) for value in node.inputs[1:5]]
    if any(array is None or array.shape != (channels,) for array in arrays):
        raise Refusal("the statistics are not constants of one number per channel")
    gamma, beta, mean, var = (np.asarray(array, dtype=np.float64) for array in arrays)
    scale = gamma / np.sqrt(var + node.attributes.get_float("epsilon", 1e-5))
    return Affine(scale, beta - mean * scale)


def _mul(node: ir.Node, data: ir.Value, channels: int, axis: int) -> Affine:
    return Affine(_operand(node, data, channels, axis), None)


def _div(node: ir.Node, data: ir.Value, channels: int, axis: int) -> Affine:
    if node.inputs[0] is not data:
        raise Refusal("dividing by the result is not affine")
    divisor = _operand(node, data, channels, axis)
    if not divisor.all():
        raise Refusal("division by zero")
    return Affine(1 / divisor, None)


def _add(node: ir.Node, data: ir.Value, channels: int, axis: int) -> Affine:
    return Affine(None, _operand(node, data, channels, axis))


def _sub(node: ir.Node, data: ir.Value, channels: int, axis: int) -> Affine:
    operand = _operand(node, data, channels, axis)
    return Affine(None, -operand) if node.inputs[0] is data else Affine(np.full(1, -1.0), operand)


AFFINE: dict[str, Callable[[ir.Node, ir.Value, int, int], Affine]] = {
    "BatchNormalization": _batch_norm,
    "Mul": _mul,
    "Div": _div,
    "Add": _add,
    "Sub": _sub,
}


class FoldAffine(Rule):
    """``affine(compute(x))`` -> ``compute(x)`` with another weight and bias; see the module's text."""

    def __init__(self, compute: str, affine: str, position: int) -> None:
        super().__init__(f"Fold{affine}Into{compute}")
        self._compute, self._affine, self._position = compute, affine, position

    def pattern(self, op: Any, x: Any, other: Any) -> Any:
        """``affine(compute(x, ...), ...)``, or the constant first."""
        computed = getattr(op, self._compute)(x, _allow_other_inputs=True, _outputs=["computed"])
        operands = [computed] if self._position == 0 else [other, computed]
        return getattr(op, self._affine)(*operands, _allow_other_inputs=True, _outputs=["result"])

    def require(self, computed: ir.Value, result: ir.Value, **_: ir.Value) -> None:
        """Refuse when weight and bias cannot absorb the operator."""
        _folded(producer(computed), computed, producer(result))

    def rewrite(self, op: Any, computed: ir.Value, result: ir.Value, **_: ir.Value) -> Any:
        """Build the compute operator again with its new constants."""
        node = producer(computed)
        weight, bias = _folded(node, computed, producer(result))
        inputs = [*node.inputs, None, None][:3]
        if weight is not None:
            inputs[1] = add_constant(op, node, weight, f"{result.name}.weight")
        attributes = dict(node.attributes)
        if bias is None:
            return op.op(node.op_type, *inputs[: len(node.inputs)], **attributes)
        bias_value = add_constant(op, node, bias, f"{result.name}.bias")
        if node.op_type == "MatMul":
            return op.Add(like(op.MatMul(*inputs[:2]), computed), bias_value)
        if node.op_type == "Gemm":
            attributes.pop("beta", None)
        return op.op(node.op_type, *inputs[:2], bias_value, **attributes)


class FoldAffineIntoBiasedMatMul(Rule):
    """``affine(MatMul(x, W) + b)`` -> ``MatMul(x, W') + b'``.

    Refuses as `FoldAffine` does, and when the bias varies along more than the columns of the product.
    """

    def __init__(self, affine: str, position: int, bias_position: int) -> None:
        super().__init__(f"Fold{affine}IntoBiasedMatMul")
        self._affine, self._position, self._bias_position = affine, position, bias_position

    def pattern(self, op: Any, x: Any, w: Any, b: Any, other: Any) -> Any:
        """``affine(Add(MatMul(x, w), b), ...)`` in every order of operands."""
        product = op.MatMul(x, w, _outputs=["product"])
        operands = [product, b] if self._bias_position else [b, product]
        biased = op.Add(*operands, _outputs=["biased"])
        operands = [biased] if self._position == 0 else [other, biased]
        return getattr(op, self._affine)(*operands, _allow_other_inputs=True, _outputs=["result"])

    def require(self, product: ir.Value, biased: ir.Value, result: ir.Value, **_: ir.Value) -> None:
        """Refuse when weight and bias cannot absorb the operator."""
        self._constants(product, biased, result)

    def rewrite(self, op: Any, product: ir.Value, biased: ir.Value, result: ir.Value, **_: ir.Value) -> Any:
        """Build product and sum again with their new constants."""
        node = producer(product)
        weight, bias = self._constants(product, biased, result)
        inputs = list(node.inputs)
        if weight is not None:
            inputs[1] = add_constant(op, node, weight, f"{result.name}.weight")
        return op.Add(like(op.MatMul(*inputs), product), add_constant(op, node, bias, f"{result.name}.bias"))

    @staticmethod
    def _constants(
        product: ir.Value, biased: ir.Value, result: ir.Value
    ) -> tuple[NDArray[np.generic] | None, NDArray[np.generic]]:
        node = producer(product)
        weight = _weight(node)
        channels = weight.shape[-1]
        old = _operand(producer(biased), product, channels, -1)
        affine = AFFINE[producer(result).op_type](producer(result), biased, channels, -1)
        bias = np.broadcast_to(old, (channels,)) * (1 if affine.scale is None else affine.scale)
        bias = bias + (0 if affine.shift is None else affine.shift)
        return _scaled_weight(node, weight, affine), _finite(bias, weight.dtype)


def _weight(node: ir.Node) -> NDArray[np.generic]:
    weight = constant(node.inputs[1])
    if weight is None:
        raise Refusal("the weight is not constant")
    if node.op_type == "MatMul" and weight.ndim < 2:
        raise Refusal("the weight is a vector")
    if not np.issubdtype(weight.dtype, np.floating):
        raise Refusal(f"the weight is {weight.dtype}")
    return weight


def _scaled_weight(node: ir.Node, weight: NDArray[np.generic], affine: Affine) -> NDArray[np.generic] | None:
    if affine.scale is None:
        return None
    value = node.inputs[1]
    if value is not None and len(list(value.uses())) > 1:
        raise Refusal("the weight has other readers")
    layout = LAYOUTS[node.op_type](node)
    scale = np.broadcast_to(affine.scale, (layout.outputs(weight.shape),))
    return _finite(weight.astype(np.float64) * layout.along_outputs(scale, weight.shape), weight.dtype)


def _finite(array: Floats, dtype: np.dtype[np.generic]) -> NDArray[np.generic]:
    with np.errstate(over="ignore"):
        result = array.astype(dtype)
    if not np.isfinite(result).all():
        raise Refusal(f"a folded constant does not fit {dtype}")
    return result


def _folded(
    node: ir.Node, computed: ir.Value, follower: ir.Node
) -> tuple[NDArray[np.generic] | None, NDArray[np.generic] | None]:
    """Return weight and bias of `node` after absorbing `follower`; None for one that does not change."""
    weight = _weight(node)
    layout = LAYOUTS[node.op_type](node)
    channels = layout.outputs(weight.shape)
    affine = AFFINE[follower.op_type](follower, computed, channels, layout.result_axis)
    old = _bias(node, channels)
    if old is None and affine.shift is None:
        return _scaled_weight(node, weight, affine), None
    bias = np.broadcast_to(np.zeros(1) if old is None else old, (channels,))
    bias = bias * (1 if affine.scale is None else affine.scale)
    bias = bias + (0 if affine.shift is None else affine.shift)
    return _scaled_weight(node, weight, affine), _finite(bias, weight.dtype)


def _bias(node: ir.Node, channels: int) -> Floats | None:
    value = node.inputs[2] if len(node.inputs) > 2 else None
    if value is None:
        return None
    bias = constant(value)
    if bias is None:
        raise Refusal("the bias is not constant")
    if bias.size not in (1, channels) or bias.size not in (1, bias.shape[-1]):
        raise Refusal("the bias varies along more than the channels")
    beta = node.attributes.get_float("beta", 1.0) if node.op_type == "Gemm" else 1.0
    return bias.reshape(-1).astype(np.float64) * beta


def _combinations() -> tuple[RewriteRule, ...]:
    single = [
        FoldAffine.rule(compute, affine, position)
        for compute in LAYOUTS
        for affine in AFFINE
        for position in ((0,) if affine == "BatchNormalization" else (0, 1))
        if not (compute == "MatMul" and affine in ("Add", "Sub"))
    ]
    biased = [
        FoldAffineIntoBiasedMatMul.rule(affine, position, bias_position)
        for affine in AFFINE
        for position in ((0,) if affine == "BatchNormalization" else (0, 1))
        for bias_position in (0, 1)
    ]
    return (*single, *biased)


rules = _combinations()
