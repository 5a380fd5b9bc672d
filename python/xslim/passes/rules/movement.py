"""Move operators that only move data, so that fusions become possible, and remove those that cancel."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.ops import constant, is_standard, producer, rank
from xslim.passes.rules.base import Refusal, Rule, add_constant, like, transposed

# Operators that can absorb a factor or a summand (rules.affine, rules.normalization).
_ABSORBING = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LayerNormalization", "RMSNormalization")


class AffineBeforeTranspose(Rule):
    """``Transpose(y) * c`` -> ``Transpose(y * c')``, so that the operator before y can absorb the constant.

    The same for Add. c' is c with its axes moved back.
    Must not fire when c is computed, has more axes than y or varies along several, when y or the transposed
    y has other readers, or when no operator before y can absorb the constant.
    """

    def __init__(self, affine: str) -> None:
        super().__init__(f"{affine}BeforeTranspose")
        self._affine = affine

    def pattern(self, op: Any, y: Any, c: Any) -> Any:
        """Constants stand last."""
        return getattr(op, self._affine)(op.Transpose(y, _outputs=["moved"]), c, _outputs=["result"])

    def require(self, y: ir.Value, c: ir.Value, moved: ir.Value, **_: ir.Value) -> None:
        """A constant along one axis, and an operator before y that absorbs it."""
        _moved_back(c, _perm(producer(moved)))
        if len(list(y.uses())) != 1 or y.is_graph_output():
            raise Refusal("the tensor before the transposition has other readers")
        if not _can_absorb(y.producer()):
            raise Refusal("nothing before the transposition takes the constant in")

    def rewrite(self, op: Any, y: ir.Value, c: ir.Value, moved: ir.Value, result: ir.Value) -> Any:
        """Constant first, transposition after."""
        perm = _perm(producer(moved))
        constant_before = add_constant(op, producer(result), _moved_back(c, perm), f"{result.name}.moved")
        return op.Transpose(like(op.op(self._affine, y, constant_before), y), perm=perm)


def _perm(node: ir.Node) -> list[int]:
    perm = node.attributes.get_ints("perm") if "perm" in node.attributes else None
    if perm is None:
        raise Refusal("the transposition has no perm")
    return list(perm)


def _moved_back(c: ir.Value, perm: list[int]) -> NDArray[np.generic]:
    array = constant(c)
    if array is None:
        raise Refusal(f"{c.name} is not constant")
    if array.ndim > len(perm) or max(array.shape, default=1) != array.size:
        raise Refusal("the constant varies along several axes")
    padded = array.reshape([1] * (len(perm) - array.ndim) + list(array.shape))
    moved: NDArray[np.generic] = padded.transpose(np.argsort(perm))
    return moved


def _can_absorb(node: ir.Node | None) -> bool:
    if node is None:
        return False
    return is_standard(node, *_ABSORBING) or _is_product(node)


# (N, ..., C) -> (N, C, ...), the layout of convolutions.
_CHANNELS_FIRST = [0, 3, 1, 2]
_ELEMENTWISE = (
    "Clip",
    "Elu",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Mish",
    "Relu",
    "Sigmoid",
    "Softplus",
    "Swish",
    "Tanh",
)


class ProductAsConvolution(Rule):
    """``Transpose(MatMul(x, W) + b)`` to channels first -> 1x1 ``Conv(Transpose(x), W', b)``.

    For parts of a network that are channels-last between convolutions (ConvNeXt): product and bias become one
    operator with one weight scale per output channel, and the transpositions cancel.
    Must not fire on other permutations (attention transposes its heads), on computed or non-matrix weights,
    or when a tensor in between has other readers.
    """

    def __init__(self, biased: bool) -> None:
        super().__init__("ProductAsConvolution")
        self._biased = biased

    def pattern(self, op: Any, x: Any, w: Any, b: Any) -> Any:
        """With or without a bias, which stands last."""
        product = op.MatMul(x, w)
        return op.Transpose(op.Add(product, b) if self._biased else product, _outputs=["result"])

    def require(self, x: ir.Value, w: ir.Value, result: ir.Value, b: ir.Value | None = None) -> None:
        """Rank four, channels first, a matrix and a vector."""
        if _perm(producer(result)) != _CHANNELS_FIRST or rank(x) != len(_CHANNELS_FIRST):
            raise Refusal("not from channels last to channels first")
        weight = constant(w)
        if weight is None or weight.ndim != 2:
            raise Refusal("the weight is no constant matrix")
        if len(list(w.uses())) > 1:
            raise Refusal("the weight has other readers")
        bias = constant(b)
        if self._biased and (bias is None or bias.shape != (weight.shape[1],)):
            raise Refusal("the bias is no constant vector of one number per channel")

    def rewrite(self, op: Any, x: ir.Value, w: ir.Value, result: ir.Value, b: ir.Value | None = None) -> Any:
        """Transposed first, then convolved."""
        weight = constant(w)
        assert weight is not None
        first = transposed(op, x, _CHANNELS_FIRST)
        kernel = add_constant(op, producer(result), weight.T[:, :, None, None], f"{result.name}.weight")
        bias = [b] if b is not None else []
        return op.Conv(first, kernel, *bias, kernel_shape=[1, 1])


class TransposeBeforeActivation(Rule):
    """``Transpose(activation(y))`` to channels first -> ``activation(Transpose(y))`` after a product.

    The transposition then stands directly behind the product, where `ProductAsConvolution` finds it. Must not
    fire on other permutations, or when y is not the result of a product with constant weights, because moving
    the transposition would then have no use.
    """

    def __init__(self, activation: str) -> None:
        super().__init__("TransposeBeforeActivation")
        self._activation = activation

    def pattern(self, op: Any, y: Any) -> Any:
        """One elementwise operator between."""
        active = getattr(op, self._activation)(y, _allow_other_inputs=True, _outputs=["active"])
        return op.Transpose(active, _outputs=["result"])

    def require(self, y: ir.Value, result: ir.Value, **_: ir.Value) -> None:
        """Behind a product that nothing else reads."""
        if _perm(producer(result)) != _CHANNELS_FIRST:
            raise Refusal("not from channels last to channels first")
        if len(list(y.uses())) != 1 or y.is_graph_output() or not _is_product(y.producer()):
            raise Refusal("not behind a product of its own")

    def rewrite(self, op: Any, y: ir.Value, active: ir.Value, result: ir.Value) -> Any:
        """Transposed first."""
        node = producer(active)
        moved = like(op.Transpose(y, perm=_CHANNELS_FIRST), result)
        return op.op(node.op_type, moved, *node.inputs[1:], **node.attributes)


def _is_product(node: ir.Node | None) -> bool:
    if node is not None and is_standard(node, "Add") and constant(node.inputs[1]) is not None:
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
    return node is not None and is_standard(node, "MatMul") and constant(node.inputs[1]) is not None


_MOVING = ("Reshape", "Squeeze", "Transpose", "Unsqueeze")


class NumberBeforeMovement(Rule):
    """``Reshape(y) * c`` -> ``Reshape(y * c)`` for a single number c, back to a product that absorbs c.

    The same for Squeeze, Transpose and Unsqueeze. In this way the weights of the query absorb the scale of
    attention. Must not fire when c is an array, when a value between c and the product has other readers, or
    when there is no such product.
    """

    def __init__(self, movement: str) -> None:
        super().__init__("NumberBeforeMovement")
        self._movement = movement

    def pattern(self, op: Any, y: Any, c: Any) -> Any:
        """Constants stand last."""
        return op.Mul(getattr(op, self._movement)(y, _allow_other_inputs=True, _outputs=["moved"]), c)

    def require(self, y: ir.Value, c: ir.Value, **_: ir.Value) -> None:
        """A number, and a product at the top."""
        _require_number_above(y, c)

    def rewrite(self, op: Any, y: ir.Value, c: ir.Value, moved: ir.Value) -> Any:
        """Scaled first."""
        node = producer(moved)
        return op.op(node.op_type, like(op.Mul(y, c), y), *node.inputs[1:], **node.attributes)


class NumberBeforeProduct(Rule):
    """``MatMul(a, b) * c`` -> ``MatMul(a * c, b)`` for a single number c and computed a and b.

    If attention scales its scores, `NumberBeforeMovement` moves the number on into the weights of the query.
    Must not fire when c is an array, or when no product with constant weights before a can absorb the number.
    """

    def pattern(self, op: Any, a: Any, b: Any, c: Any) -> Any:
        """Constants stand last."""
        return op.Mul(op.MatMul(a, b, _outputs=["product"]), c)

    def require(self, a: ir.Value, c: ir.Value, **_: ir.Value) -> None:
        """A number, and a product at the top."""
        _require_number_above(a, c)

    def rewrite(self, op: Any, a: ir.Value, b: ir.Value, c: ir.Value, **_: ir.Value) -> Any:
        """Scaled first."""
        return op.MatMul(like(op.Mul(a, c), a), b)


def _require_number_above(value: ir.Value, c: ir.Value) -> None:
    """Refuse unless c is a number and only movements lie between `value` and a product that absorbs c."""
    array = constant(c)
    if array is None or array.ndim != 0:
        raise Refusal("the factor is no single number")
    above: ir.Value | None = value
    while above is not None:
        if len(list(above.uses())) != 1 or above.is_graph_output():
            raise Refusal("a tensor on the way up has other readers")
        node = above.producer()
        if _is_product(node):
            return
        above = node.inputs[0] if node is not None and is_standard(node, *_MOVING) else None
    raise Refusal("no product takes the number in")


rules = (
    NumberBeforeProduct.rule(),
    *(NumberBeforeMovement.rule(movement) for movement in _MOVING),
    AffineBeforeTranspose.rule("Mul"),
    AffineBeforeTranspose.rule("Add"),
    ProductAsConvolution.rule(True),
    ProductAsConvolution.rule(False),
    *(TransposeBeforeActivation.rule(activation) for activation in _ELEMENTWISE),
)
