"""The base of all rules: refusal with a reason, and matching of commutative operands in every order."""

from __future__ import annotations

from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnxscript.rewriter import MatchResult, RewriteRule, RewriteRuleClassBase

from xslim.graph.editing import fresh_name
from xslim.graph.ops import rank, scalar

# Relative tolerance for constants of formulae (1/sqrt(2), 0.044715 ...), which exporters may round to
# float16.
_CONSTANT_TOLERANCE = 1e-3


class Refusal(Exception):  # noqa: N818 - not an error: the reason why a rule does not fire
    """Raised with the reason why a rule does not change the nodes that it matched."""


class EveryOrder:
    """A rule, expanded to all orders of the operands of Add and Mul.

    There may be hundreds of orders, so they are expanded only if a model has the operators of the rule.
    """

    def __init__(self, rule: RewriteRule) -> None:
        self.rule = rule

    @cached_property
    def orders(self) -> tuple[RewriteRule, ...]:
        """Return one rule per order, the order of the written pattern first."""
        return tuple(self.rule.commute())


AnyRule: TypeAlias = RewriteRule | EveryOrder


class Rule(RewriteRuleClassBase):  # type: ignore[misc]
    """A rule whose `require` raises `Refusal` if the rule must not be applied."""

    def check(self, _context: object, **bindings: Any) -> MatchResult:
        """Call `require` and convert a refusal into the rewriter's result."""
        result = MatchResult()
        try:
            self.require(**bindings)
        except Refusal as refusal:
            return result.fail(str(refusal))
        return result

    def require(self, *args: Any, **bindings: Any) -> None:
        """Raise `Refusal` if the matched nodes must stay."""

    @classmethod
    def orders(cls, *args: object) -> tuple[EveryOrder]:
        """The rule for every order of the operands of Add and Mul."""
        return (EveryOrder(cls.rule(*args)),)


def require_scalar(value: ir.Value, *expected: float) -> float:
    """Return the number in `value`; refuse unless it is constant and close to a number in `expected`."""
    number = scalar(value)
    if number is None:
        raise Refusal(f"{value.name} is not a constant number")
    if expected and not np.isclose(number, expected, rtol=_CONSTANT_TOLERANCE, atol=0).any():
        raise Refusal(f"{value.name} is {number}, not {' or '.join(map(str, expected))}")
    return number


def require_float(value: ir.Value) -> ir.DataType:
    """Return the element type; refuse unless it is known and floating point."""
    if value.dtype is None or not value.dtype.is_floating_point():
        raise Refusal(f"{value.name} is not known to be floating point")
    return value.dtype


def require_rank(value: ir.Value) -> int:
    """Return the number of dimensions; refuse when it is unknown."""
    ndim = rank(value)
    if ndim is None:
        raise Refusal(f"the rank of {value.name} is unknown")
    return ndim


def require_dim(value: ir.Value, axis: int) -> int:
    """Return the size along an axis; refuse when it is unknown or symbolic."""
    if value.shape is None or not isinstance(value.shape[axis], int):
        raise Refusal(f"the size of {value.name} along axis {axis} is unknown")
    return int(value.shape[axis])  # type: ignore[arg-type]


def add_constant(op: Any, near: ir.Node, array: NDArray[np.generic], name: str) -> ir.Value:
    """Register a constant in the graph of `near` under a name that is free there."""
    tensor = ir.Tensor(np.asarray(array, order="C"), name=name)
    value: ir.Value = op.initializer(tensor, name=fresh_name(near, name))
    return value


def transposed(op: Any, value: ir.Value, perm: list[int]) -> ir.Value:
    """Make a Transpose whose result has a type and a shape."""
    result: ir.Value = op.Transpose(value, perm=perm)
    result.type = value.type
    if value.shape is not None:
        result.shape = ir.Shape([value.shape[axis] for axis in perm])
    return result


def like(value: ir.Value, model: ir.Value) -> ir.Value:
    """Give a new value the type and shape of another value, because later rules need them."""
    value.type, value.shape = model.type, model.shape
    return value
