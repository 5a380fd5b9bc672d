"""Rules that give equivalent constructs one form; most are rules of onnxscript, checked and ordered here."""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from onnxscript.rewriter.rules import common

from xslim.graph.ops import constant, integers, producer, rank, scalar, static_shape
from xslim.passes.rules.base import Refusal, Rule


class ProductAsGemm(Rule):
    """``MatMul(x, W) + b`` of a matrix x -> ``Gemm(x, W, b)``.

    Must not fire when x is no matrix (Gemm takes only those), the weight is computed, or the bias is not one
    number per column: Gemm broadcasts in one direction only.
    """

    def pattern(self, op: Any, x: Any, w: Any, b: Any) -> Any:
        """The bias stands last."""
        return op.Add(op.MatMul(x, w), b)

    def require(self, x: ir.Value, w: ir.Value, b: ir.Value) -> None:
        """A matrix, a constant matrix and a constant vector."""
        weight, bias = constant(w), constant(b)
        if rank(x) != 2 or weight is None or weight.ndim != 2:
            raise Refusal("not a product of a matrix and a constant matrix")
        if bias is None or bias.shape not in ((weight.shape[1],), (1, weight.shape[1])):
            raise Refusal("the bias is not one number per column")

    def rewrite(self, op: Any, x: ir.Value, w: ir.Value, b: ir.Value) -> Any:
        """One Gemm."""
        return op.Gemm(x, w, b)


class PadIntoPool(Rule):
    """``AveragePool(Pad(x))`` with zeros -> ``AveragePool(x)`` that counts its padding.

    Must not fire when other axes than the spatial ones are padded, when the amounts of padding are negative
    or not constant, when the padding value is not zero, or when the padding reaches the size of the window.
    Nor when the pool has padding that it does not count, rounds up, or chooses its padding itself: the
    averages at the border would change. (For MaxPool there is no such rule, because it pads with minus
    infinity.)
    """

    def pattern(self, op: Any, x: Any) -> Any:
        """A constant Pad before the pool."""
        padded = op.Pad(x, _allow_other_inputs=True, _outputs=["padded"])
        return op.AveragePool(padded, _outputs=["pooled"])

    def require(self, x: ir.Value, padded: ir.Value, pooled: ir.Value) -> None:
        """Zeros around the spatial axes, and a pool that divides by its whole window."""
        self._pads(x, padded, pooled)

    def rewrite(self, op: Any, x: ir.Value, padded: ir.Value, pooled: ir.Value) -> Any:
        """Both paddings in one."""
        attributes = dict(producer(pooled).attributes)
        attributes["pads"] = ir.AttrInt64s("pads", self._pads(x, padded, pooled))
        attributes["count_include_pad"] = ir.AttrInt64("count_include_pad", 1)
        return op.AveragePool(x, **attributes)

    @staticmethod
    def _pads(x: ir.Value, padded: ir.Value, pooled: ir.Value) -> list[int]:
        pad, pool = producer(padded), producer(pooled)
        ndim = rank(x)
        pads = integers(pad.inputs[1]) if len(pad.inputs) > 1 else None
        if pads is None or ndim is None or len(pads) != 2 * ndim or len(pad.inputs) > 3:
            raise Refusal("the padding is not constant for every axis")
        if pad.attributes.get_string("mode", "constant") != "constant" or min(pads) < 0:
            raise Refusal("the padding repeats the tensor or cuts it")
        if len(pad.inputs) > 2 and pad.inputs[2] is not None and scalar(pad.inputs[2]) != 0:
            raise Refusal("the padding is not zero")
        if any(pads[:2]) or any(pads[ndim : ndim + 2]):
            raise Refusal("batch or channels are padded")
        own = list(pool.attributes.get_ints("pads") or ()) if "pads" in pool.attributes else []
        own = own or [0] * (2 * ndim - 4)
        if any(own) and not pool.attributes.get_int("count_include_pad", 0):
            raise Refusal("the pool pads without counting")
        if pool.attributes.get_int("ceil_mode", 0):
            raise Refusal("the pool rounds up")
        if pool.attributes.get_string("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
            raise Refusal("the pool chooses its own padding")
        spatial = [*pads[2:ndim], *pads[ndim + 2 :]]
        total = [outer + inner for outer, inner in zip(spatial, own, strict=True)]
        window = list(pool.attributes.get_ints("kernel_shape") or ())
        if any(amount >= side for amount, side in zip(total, [*window, *window], strict=True)):
            raise Refusal("a window would hold nothing but padding, which runtimes do not allow")
        return total


class ReshapeToSame(Rule):
    """``Reshape(x)`` to the shape that x has -> x; must not fire when a size is unknown."""

    def pattern(self, op: Any, x: Any, shape: Any) -> Any:
        """Any Reshape."""
        return op.Reshape(x, shape, _outputs=["result"])

    def require(self, x: ir.Value, result: ir.Value, **_: ir.Value) -> None:
        """The same known shape."""
        shape = static_shape(x)
        if shape is None or shape != static_shape(result):
            raise Refusal("the shape is another or not known")

    def rewrite(self, op: Any, x: ir.Value, **_: ir.Value) -> Any:
        """Nothing; folding removes the Identity."""
        return op.Identity(x)


class PadWithNothing(Rule):
    """``Pad(x)`` by zero everywhere -> x; must not fire on computed or negative padding."""

    def pattern(self, op: Any, x: Any, pads: Any) -> Any:
        """Any Pad."""
        return op.Pad(x, pads, _allow_other_inputs=True)

    def require(self, x: ir.Value, pads: ir.Value) -> None:
        """All zero."""
        del x
        amounts = integers(pads)
        if amounts is None or any(amounts):
            raise Refusal("something is padded or cut, or may be")

    def rewrite(self, op: Any, x: ir.Value, **_: ir.Value) -> Any:
        """Nothing; folding removes the Identity."""
        return op.Identity(x)


rules = (
    common.no_op_transpose_rule,
    common.collapse_slice2_rule,
    PadWithNothing.rule(),
    common.transpose_transpose_rule,
    common.no_op_cast_rule,
    common.unsqueeze_unsqueeze_rule,
    common.successive_relu_rule,
    common.fuse_pad_into_conv_rule,
    PadIntoPool.rule(),
    ReshapeToSame.rule(),
    ProductAsGemm.rule(),
)
