"""Write arithmetic in one form, so that the patterns of fusions need to match that form only."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from xslim.graph.ops import constant, producer
from xslim.passes.rules.base import Refusal, Rule, add_constant, require_float, require_scalar


class SquareAsProduct(Rule):
    """``Pow(x, 2)`` -> ``x * x``.

    Must not fire on whole numbers (Pow lets the exponent have another type) or another exponent.
    """

    def pattern(self, op: Any, x: Any, exponent: Any) -> Any:
        """``Pow(x, 2)``."""
        return op.Pow(x, exponent)

    def require(self, x: ir.Value, exponent: ir.Value) -> None:
        """Floating point, exponent two."""
        require_float(x)
        require_scalar(exponent, 2.0)

    def rewrite(self, op: Any, x: ir.Value, **_: ir.Value) -> Any:
        """One product."""
        return op.Mul(x, x)


class HalfPowerAsRoot(SquareAsProduct):
    """``Pow(x, 0.5)`` -> ``Sqrt(x)``; refuses as `SquareAsProduct` does."""

    def require(self, x: ir.Value, exponent: ir.Value) -> None:
        """Floating point, exponent one half."""
        require_float(x)
        require_scalar(exponent, 0.5)

    def rewrite(self, op: Any, x: ir.Value, **_: ir.Value) -> Any:
        """One root."""
        return op.Sqrt(x)


class DivisionByConstant(Rule):
    """``x / c`` -> ``x * (1 / c)`` for a constant c.

    Must not fire on whole numbers (division truncates there), nor when a reciprocal is infinite, zero or
    subnormal in the element type, where rounding would no longer be one unit in the last place.
    """

    def pattern(self, op: Any, x: Any, divisor: Any) -> Any:
        """``Div(x, c)``."""
        return op.Div(x, divisor, _outputs=["quotient"])

    def require(self, x: ir.Value, divisor: ir.Value, quotient: ir.Value) -> None:
        """Floating point, constant, safe to invert."""
        del quotient
        require_float(x)
        array = constant(divisor)
        if array is None:
            raise Refusal("the divisor is not constant")
        if constant(x) is not None:
            raise Refusal("both operands are constant")
        magnitude = np.abs(array.astype(np.float64))
        tiny = float(np.finfo(str(array.dtype)).tiny)
        if not ((magnitude >= tiny) & (magnitude <= 1 / tiny)).all():
            raise Refusal("a reciprocal leaves the range of the element type")

    def rewrite(self, op: Any, x: ir.Value, divisor: ir.Value, quotient: ir.Value) -> Any:
        """One product by the reciprocal."""
        array = constant(divisor)
        assert array is not None
        inverse = (1 / array.astype(np.float64)).astype(array.dtype)
        return op.Mul(x, add_constant(op, producer(quotient), inverse, f"{quotient.name}.reciprocal"))


class ProductByReciprocal(Rule):
    """``x * Reciprocal(y)`` -> ``x / y``, and ``x * (1 / y)`` alike.

    Must not fire when the reciprocal has other readers: two divisions cost more than one and a product.
    """

    def __init__(self, as_division: bool) -> None:
        super().__init__("ProductByReciprocal")
        self._as_division = as_division

    def pattern(self, op: Any, x: Any, y: Any, one: Any) -> Any:
        """``x * Reciprocal(y)`` or ``x * (1 / y)``."""
        return op.Mul(x, op.Div(one, y) if self._as_division else op.Reciprocal(y))

    def require(self, x: ir.Value, y: ir.Value, one: ir.Value | None = None) -> None:
        """The numerator is one."""
        require_float(y)
        if self._as_division:
            if one is None:
                raise Refusal("no numerator")
            require_scalar(one, 1.0)
        if constant(x) is not None:
            raise Refusal("the other factor is constant: nothing is saved")

    def rewrite(self, op: Any, x: ir.Value, y: ir.Value, **_: ir.Value) -> Any:
        """One quotient."""
        return op.Div(x, y)


rules = (
    SquareAsProduct.rule(),
    HalfPowerAsRoot.rule(),
    DivisionByConstant.rule(),
    *ProductByReciprocal.orders(False),
    *ProductByReciprocal.orders(True),
)
