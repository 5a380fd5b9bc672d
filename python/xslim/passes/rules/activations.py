"""Fuse activations that exporters write out as arithmetic."""

from __future__ import annotations

import math
from typing import Any

import onnx_ir as ir

from xslim.graph.ops import scalar
from xslim.passes.rules.base import Refusal, Rule, require_float, require_scalar


class GeluErf(Rule):
    """``0.5 * x * (1 + erf(x / sqrt(2)))`` -> ``Gelu(x)``, wherever the factor 0.5 stands.

    Must not fire when a constant differs: the function would be another one.

    Parameters
    ----------
    half : {"last", "input", "inner"}
        Which product carries the factor.
    """

    def __init__(self, half: str) -> None:
        super().__init__("Gelu")
        self._half = half

    def pattern(self, op: Any, x: Any, root: Any, one: Any, half: Any) -> Any:
        """The three places of the factor."""
        return _half_times(op, x, op.Add(op.Erf(op.Mul(x, root)), one), half, self._half)

    def require(self, x: ir.Value, root: ir.Value, one: ir.Value, half: ir.Value) -> None:
        """All constants as in the formula."""
        require_float(x)
        require_scalar(root, math.sqrt(0.5))
        require_scalar(one, 1.0)
        require_scalar(half, 0.5)

    def rewrite(self, op: Any, x: ir.Value, **_: ir.Value) -> Any:
        """The exact form."""
        return op.Gelu(x, approximate="none")


class GeluTanh(Rule):
    """``0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`` -> ``Gelu(x, approximate="tanh")``.

    Must not fire when a constant differs.

    Parameters
    ----------
    half : {"last", "input", "inner"}
        Which product carries the factor 0.5.
    cube : {"power", "product", "scaled"}
        ``Pow(x, 3)``, ``x * (x * x)``, or ``x * (x * (c * x))`` with the constant inside, as JAX writes it.
    """

    def __init__(self, half: str, cube: str) -> None:
        super().__init__("Gelu")
        self._half, self._cube = half, cube

    def pattern(self, op: Any, x: Any, three: Any, c: Any, root: Any, one: Any, half: Any) -> Any:
        """Every place of the factor, all ways to write the cube."""
        if self._cube == "scaled":
            cubic = op.Mul(x, op.Mul(x, op.Mul(x, c)))
        else:
            cubic = op.Mul(op.Pow(x, three) if self._cube == "power" else op.Mul(x, op.Mul(x, x)), c)
        inner = op.Mul(op.Add(x, cubic), root)
        return _half_times(op, x, op.Add(op.Tanh(inner), one), half, self._half)

    def require(
        self, x: ir.Value, c: ir.Value, root: ir.Value, one: ir.Value, half: ir.Value, three: ir.Value | None
    ) -> None:
        """All constants as in the formula."""
        require_float(x)
        if three is not None:
            require_scalar(three, 3.0)
        require_scalar(c, 0.044715)
        require_scalar(root, math.sqrt(2 / math.pi))
        require_scalar(one, 1.0)
        require_scalar(half, 0.5)

    def rewrite(self, op: Any, x: ir.Value, **_: ir.Value) -> Any:
        """The approximation, named as such."""
        return op.Gelu(x, approximate="tanh")


def _half_times(op: Any, x: Any, factor: Any, half: Any, place: Any) -> Any:
    if place == "input":
        return op.Mul(op.Mul(x, half), factor)
    if place == "inner":
        return op.Mul(x, op.Mul(factor, half))
    return op.Mul(op.Mul(x, factor), half)


class Swish(Rule):
    """``x * Sigmoid(x)`` -> ``Swish(x)``; ``x * Sigmoid(alpha * x)`` -> ``Swish(x, alpha)``.

    Must not fire when the sigmoid has other readers (a gate used twice), or alpha is no single number.
    """

    def __init__(self, scaled: bool) -> None:
        super().__init__("Swish")
        self._scaled = scaled

    def pattern(self, op: Any, x: Any, alpha: Any) -> Any:
        """With and without alpha."""
        return op.Mul(x, op.Sigmoid(op.Mul(x, alpha) if self._scaled else x))

    def require(self, x: ir.Value, alpha: ir.Value | None = None) -> None:
        """Alpha is a number."""
        require_float(x)
        if alpha is not None:
            require_scalar(alpha)

    def rewrite(self, op: Any, x: ir.Value, alpha: ir.Value | None = None) -> Any:
        """One Swish."""
        return op.Swish(x) if alpha is None else op.Swish(x, alpha=scalar(alpha))


class HardSigmoid(Rule):
    """``Clip(x + 3, 0, 6) / 6`` or ``Clip(x / 6 + 0.5, 0, 1)`` -> ``HardSigmoid(x, 1/6, 0.5)``.

    Any slope and offset will do as long as the result is clipped to exactly 0 and 1.
    Must not fire when a bound is missing, computed or different.
    """

    def __init__(self, scaled_first: bool) -> None:
        super().__init__("HardSigmoid")
        self._scaled_first = scaled_first

    def pattern(self, op: Any, x: Any, slope: Any, offset: Any, low: Any, high: Any) -> Any:
        """Scaled before or after clipping."""
        if self._scaled_first:
            return op.Clip(op.Add(op.Mul(x, slope), offset), low, high)
        return op.Mul(op.Clip(op.Add(x, offset), low, high), slope)

    def require(
        self, x: ir.Value, slope: ir.Value, offset: ir.Value, low: ir.Value | None, high: ir.Value | None
    ) -> None:
        """Clipped to 0 and 1 after scaling."""
        require_float(x)
        if low is None or high is None:
            raise Refusal("a bound is missing")
        factor = require_scalar(slope)
        require_scalar(offset)
        if factor == 0:
            raise Refusal("the slope is zero")
        ceiling = 1.0 if self._scaled_first else 1 / factor
        if scalar(low) != 0:
            raise Refusal("the lower bound is not zero")
        require_scalar(high, ceiling)

    def rewrite(self, op: Any, x: ir.Value, slope: ir.Value, offset: ir.Value, **_: ir.Value) -> Any:
        """Slope and offset as attributes."""
        alpha, beta = scalar(slope), scalar(offset)
        assert alpha is not None
        assert beta is not None
        return op.HardSigmoid(x, alpha=alpha, beta=beta if self._scaled_first else beta * alpha)


class HardSwish(Rule):
    """``x * HardSigmoid(x, 1/6, 0.5)`` -> ``HardSwish(x)``.

    Must not fire with another slope or offset, or when the gate has other readers.
    """

    def pattern(self, op: Any, x: Any) -> Any:
        """The product with its gate."""
        return op.Mul(x, op.HardSigmoid(x, _outputs=["gate"]))

    def require(self, x: ir.Value, gate: ir.Value) -> None:
        """The slope and offset that HardSwish has."""
        require_float(x)
        node = gate.producer()
        assert node is not None
        alpha, beta = node.attributes.get_float("alpha", 0.2), node.attributes.get_float("beta", 0.5)
        if not (math.isclose(alpha, 1 / 6, rel_tol=1e-4) and math.isclose(beta, 0.5, rel_tol=1e-4)):
            raise Refusal(f"slope {alpha} and offset {beta} are not those of HardSwish")

    def rewrite(self, op: Any, x: ir.Value, **_: ir.Value) -> Any:
        """One HardSwish."""
        return op.HardSwish(x)


class HardSwishScaledLast(Rule):
    """``(x * Clip(x + 3, 0, 6)) / 6`` -> ``HardSwish(x)``; must not fire with other constants."""

    def pattern(self, op: Any, x: Any, three: Any, low: Any, high: Any, sixth: Any) -> Any:
        """The division comes last."""
        return op.Mul(op.Mul(x, op.Clip(op.Add(x, three), low, high)), sixth)

    def require(
        self, x: ir.Value, three: ir.Value, low: ir.Value | None, high: ir.Value | None, sixth: ir.Value
    ) -> None:
        """All constants as in the formula."""
        require_float(x)
        if low is None or high is None or scalar(low) != 0:
            raise Refusal("a bound is missing or not zero")
        require_scalar(three, 3.0)
        require_scalar(high, 6.0)
        require_scalar(sixth, 1 / 6)

    def rewrite(self, op: Any, x: ir.Value, **_: ir.Value) -> Any:
        """One HardSwish."""
        return op.HardSwish(x)


class Mish(Rule):
    """``x * tanh(softplus(x))`` -> ``Mish(x)``; must not fire when the gate has other readers."""

    def pattern(self, op: Any, x: Any) -> Any:
        """The product with its gate."""
        return op.Mul(x, op.Tanh(op.Softplus(x)))

    def require(self, x: ir.Value) -> None:
        """Floating point."""
        require_float(x)

    def rewrite(self, op: Any, x: ir.Value) -> Any:
        """One Mish."""
        return op.Mish(x)


PLACES, CUBES = ("last", "input", "inner"), ("power", "product", "scaled")
gelu = (
    *(rule for place in PLACES for rule in GeluErf.orders(place)),
    *(rule for place in PLACES for cube in CUBES for rule in GeluTanh.orders(place, cube)),
)
swish = (*Swish.orders(False), *Swish.orders(True))
hard_sigmoid = (*HardSigmoid.orders(False), *HardSigmoid.orders(True))
hard_swish = (*HardSwish.orders(), *HardSwishScaledLast.orders())
mish = Mish.orders()
