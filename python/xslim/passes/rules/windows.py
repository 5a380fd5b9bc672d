"""Window partition and window reverse of Swin-like networks as one function node each."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir

from xslim.graph.ops import integers, producer, static_shape
from xslim.passes.functions import DOMAIN, VERSION
from xslim.passes.rules.base import Refusal, Rule

# (N, rows, w, columns, w, C) <-> (N, rows, columns, w, w, C)
_SWAP_WINDOW_AXES = [0, 1, 3, 2, 4, 5]


class _Window(Rule):
    """``Reshape(Transpose(Reshape(x, split)), merge)`` -> one function node with the same inputs.

    Must not fire on other permutations, on computed or unknown shapes, or if the two inner axes are not a
    square window, because the reshapes then are not a window partition.
    """

    operator = ""

    def pattern(self, op: Any, x: Any, split: Any, merge: Any) -> Any:
        """A six-dimensional shuffle between two reshapes."""
        parts = op.Reshape(x, split, _outputs=["parts"])
        return op.Reshape(op.Transpose(parts, _outputs=["ordered"]), merge, _outputs=["result"])

    def require(
        self,
        x: ir.Value,
        split: ir.Value,
        merge: ir.Value,
        parts: ir.Value,
        ordered: ir.Value,
        result: ir.Value,
    ) -> None:
        """Constant shapes, the permutation of windows, a square window."""
        if integers(split) is None or integers(merge) is None:
            raise Refusal("a shape is computed")
        if list(producer(ordered).attributes.get_ints("perm") or ()) != _SWAP_WINDOW_AXES:
            raise Refusal("another permutation")
        shapes = [static_shape(value) for value in (x, parts, result)]
        if any(shape is None for shape in shapes):
            raise Refusal("a shape is unknown")
        self.window(*(shape for shape in shapes if shape is not None))

    def window(self, before: tuple[int, ...], parts: tuple[int, ...], after: tuple[int, ...]) -> int:
        """Side of the window; refuse when there is none."""
        raise NotImplementedError

    def rewrite(
        self,
        op: Any,
        x: ir.Value,
        split: ir.Value,
        merge: ir.Value,
        parts: ir.Value,
        result: ir.Value,
        **_: ir.Value,
    ) -> Any:
        """One node with the shapes as inputs."""
        before, between, after = (static_shape(value) or () for value in (x, parts, result))
        return op.op(
            self.operator,
            x,
            split,
            merge,
            _domain=DOMAIN,
            _version=VERSION,
            window_size=self.window(before, between, after),
            perm=_SWAP_WINDOW_AXES,
        )


class WindowPartition(_Window):
    """(N, H, W, C) -> (N * windows, w * w, C) or (N * windows, w, w, C)."""

    operator = "WindowPartition"

    def window(self, before: tuple[int, ...], parts: tuple[int, ...], after: tuple[int, ...]) -> int:
        """The third and the fifth axis of the parts."""
        batch, rows, side, columns, width, channels = parts
        if side != width or before != (batch, rows * side, columns * width, channels):
            raise Refusal("not square windows of an image")
        count = batch * rows * columns
        if after not in ((count, side * width, channels), (count, side, width, channels)):
            raise Refusal("the windows are not handed out one by one")
        return side


class WindowReverse(_Window):
    """(N * windows, w * w, C) or (N * windows, w, w, C) -> (N, H, W, C)."""

    operator = "WindowReverse"

    def window(self, before: tuple[int, ...], parts: tuple[int, ...], after: tuple[int, ...]) -> int:
        """The fourth and the fifth axis of the parts."""
        batch, rows, columns, side, width, channels = parts
        if side != width or after != (batch, rows * side, columns * width, channels):
            raise Refusal("not square windows of an image")
        count = batch * rows * columns
        if before not in ((count, side * width, channels), (count, side, width, channels)):
            raise Refusal("the windows are not read one by one")
        return side


rules = (WindowPartition.rule(), WindowReverse.rule())
OPERATORS = (WindowPartition.operator, WindowReverse.operator)
