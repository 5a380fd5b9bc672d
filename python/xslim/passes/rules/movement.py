"""Bring operators that only move data out of the way, and drop those that undo each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.ops import constant, is_standard, producer
from xslim.passes.rules.base import Refusal, Rule, add_constant, like

# What can take a factor or a summand in (rules.affine, rules.normalization).
_ABSORBING = ("Conv", "ConvTranspose", "Gemm", "MatMul", "LayerNormalization", "RMSNormalization")


class AffineBeforeTranspose(Rule):
    """``Transpose(y) * c`` -> ``Transpose(y * c')`` so that what computes y can take the constant in.

    The same for Add. c' is c with its axes moved back.
    Must not fire when c is computed, has more axes than y or varies along several, when y or the transposed
    y has other readers, or when nothing above can absorb it: then nothing would be won.
    """

    def __init__(self, affine: str) -> None:
        super().__init__(f"{affine}BeforeTranspose")
        self._affine = affine

    def pattern(self, op: Any, y: Any, c: Any) -> Any:
        """Constants stand last."""
        return getattr(op, self._affine)(op.Transpose(y, _outputs=["moved"]), c, _outputs=["result"])

    def require(self, y: ir.Value, c: ir.Value, moved: ir.Value, **_: ir.Value) -> None:
        """A constant along one axis, and something above that absorbs it."""
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
    if is_standard(node, "Add") and constant(node.inputs[1]) is not None:
        above = node.inputs[0].producer() if node.inputs[0] is not None else None
        return above is not None and is_standard(above, "MatMul")
    return is_standard(node, *_ABSORBING)


rules = (AffineBeforeTranspose.rule("Mul"), AffineBeforeTranspose.rule("Add"))
