"""Fuse a softmax that is written as arithmetic."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from xslim.graph.ops import is_standard, producer
from xslim.passes.rules.base import Refusal, Rule, require_float, require_rank
from xslim.passes.rules.normalization import axes_of


class WrittenOutSoftmax(Rule):
    """``exp(x - max(x)) / sum(exp(x - max(x)))`` -> ``Softmax(x)``, with or without the maximum.

    Must not fire when maximum and sum run over different axes or over more than one, or drop their axes.
    Without the maximum the fused form is finite where the written one overflows; elsewhere they agree.
    """

    def __init__(self, shifted: bool) -> None:
        super().__init__("Softmax")
        self._shifted = shifted

    def pattern(self, op: Any, x: Any) -> Any:
        """With or without subtracting the maximum."""
        if self._shifted:
            exponent = op.Sub(x, op.ReduceMax(x, _allow_other_inputs=True, _outputs=["largest"]))
        else:
            exponent = x
        powers = op.Exp(exponent)
        return op.Div(powers, op.ReduceSum(powers, _allow_other_inputs=True, _outputs=["total"]))

    def require(self, x: ir.Value, total: ir.Value, largest: ir.Value | None = None) -> None:
        """One axis, the same for both reductions."""
        require_float(x)
        ndim = require_rank(x)
        axes = axes_of(total, ndim)
        if len(axes) != 1:
            raise Refusal(f"the sum runs over {len(axes)} axes")
        if largest is not None and axes_of(largest, ndim) != axes:
            raise Refusal("maximum and sum run over different axes")

    def rewrite(self, op: Any, x: ir.Value, total: ir.Value, **_: ir.Value) -> Any:
        """One softmax along that axis."""
        return op.Softmax(x, axis=axes_of(total, require_rank(x))[0] - require_rank(x))


class LogOfSoftmax(Rule):
    """``log(Softmax(x))`` -> ``LogSoftmax(x)``; must not fire when the softmax has other readers."""

    def pattern(self, op: Any, x: Any) -> Any:
        """The logarithm right after."""
        return op.Log(op.Softmax(x, _outputs=["probabilities"]))

    def rewrite(self, op: Any, x: ir.Value, probabilities: ir.Value) -> Any:
        """The same axis."""
        return op.LogSoftmax(x, **producer(probabilities).attributes)


class SoftmaxBetweenTransposes(Rule):
    """``Transpose(Softmax(Transpose(x)))`` -> ``Softmax(x)`` along the axis that was moved.

    Must not fire when the two transpositions do not undo each other or a perm is missing.
    """

    def pattern(self, op: Any, x: Any) -> Any:
        """There and back."""
        there = op.Transpose(x, _outputs=["there"])
        return op.Transpose(op.Softmax(there, _outputs=["probabilities"]), _outputs=["back"])

    def require(self, there: ir.Value, back: ir.Value, **_: ir.Value) -> None:
        """The second undoes the first."""
        first, second = _perm(there), _perm(back)
        if [first[axis] for axis in second] != list(range(len(first))):
            raise Refusal("the transpositions do not undo each other")

    def rewrite(self, op: Any, x: ir.Value, there: ir.Value, probabilities: ir.Value, **_: ir.Value) -> Any:
        """The axis before the transposition."""
        perm = _perm(there)
        axis = producer(probabilities).attributes.get_int("axis", -1)
        return op.Softmax(x, axis=perm[axis % len(perm)])


def _perm(value: ir.Value) -> list[int]:
    node = producer(value)
    if not is_standard(node, "Transpose") or "perm" not in node.attributes:
        raise Refusal("a transposition has no perm")
    return list(node.attributes.get_ints("perm") or ())


softmax = (
    WrittenOutSoftmax.rule(True),
    WrittenOutSoftmax.rule(False),
    LogOfSoftmax.rule(),
    SoftmaxBetweenTransposes.rule(),
)
