"""Infer shapes and evaluate the nodes whose inputs are constant."""

from __future__ import annotations

import logging
import math

import onnx_ir as ir
from onnx_ir.passes import common

from xslim.graph.limits import FOLD_MB, limit
from xslim.graph.ops import is_standard, static_shape
from xslim.passes.shapes import infer_shapes

__all__ = ["fold_constants", "infer_shapes", "remove_unused"]

logger = logging.getLogger(__name__)

# A result with more elements than this is not folded if it is larger than the node's inputs, as that of
# ConstantOfShape, Expand or Range may be.
_LARGEST_GROWTH = 1 << 18
# If the size of a result is unknown: operators that are not folded, because the result may be larger than the
# inputs, and the largest inputs, in bytes, of other operators that are folded.
_ENLARGING = ("ConstantOfShape", "Expand", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample", "Concat")
_SMALL_INPUTS = 1 << 20
# Largest number of multiplications for folding one node; that takes a few seconds.
_MOST_WORK = 2.0**33
# Never folded, because a quantised weight must stay quantised.
_NEVER_FOLDED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")


def fold_constants(model: ir.Model) -> bool:
    """Evaluate every node whose inputs are constant, and remove nodes and constants without readers.

    Identity, and Dropout of inference, are removed as well. Operators on weights, such as Transpose or Cast,
    are folded unless the result is much larger than their inputs. Returns whether anything changed.
    """
    lifted = common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model).modified
    folded = _fold(model)
    return remove_unused(model) or folded or lifted


def _fold(model: ir.Model) -> bool:
    allows = _Budget().allows
    try:
        from xslim.passes.folder import Folder
    except ImportError:
        # The parts of onnxscript that the faster folder is made of are elsewhere in another version.
        from onnxscript.optimizer import fold_constants as fold

        found = fold(
            model, onnx_shape_inference=True, output_size_limit=_LARGEST_GROWTH, should_fold=allows
        ).modified
    else:
        found = Folder(_LARGEST_GROWTH, allows)(model).modified
    return bool(found)


def remove_unused(model: ir.Model) -> bool:
    """Remove nodes, initializers and opset imports that nothing reads; functions stay."""
    changed = common.RemoveUnusedNodesPass()(model).modified
    return common.RemoveUnusedOpsetsPass()(model).modified or changed


class _Budget:
    """Decides whether a node is folded before its result is computed; the folder decides only after that."""

    def __init__(self) -> None:
        self._left = limit(FOLD_MB) << 20

    def allows(self, node: ir.Node) -> bool | None:
        """Return whether the node may be folded; the folder excludes random operators by itself."""
        if is_standard(node, *_NEVER_FOLDED) or _has_strings(node):
            return False
        before = sum(_bytes(value) for value in node.inputs if value is not None)
        shape, dtype = static_shape(node.outputs[0]), node.outputs[0].dtype
        if shape is None or dtype is None:
            # The size of the result is unknown.
            return before <= _SMALL_INPUTS and not is_standard(node, *_ENLARGING)
        elements = math.prod(shape)
        growth = int(elements * dtype.itemsize) - before
        if growth <= 0:
            return _work(node, elements) <= _MOST_WORK
        if elements > _LARGEST_GROWTH or growth > self._left or _work(node, elements) > _MOST_WORK:
            return False
        self._left -= growth
        return True


def _bytes(value: ir.Value) -> int:
    tensor = value.const_value
    return 0 if tensor is None else int(tensor.nbytes)


def _work(node: ir.Node, elements: int) -> float:
    """Estimate the multiplications of a matrix product or convolution; exact for two matrices."""
    sizes = [value.const_value.size for value in node.inputs[:2] if value is not None and value.const_value]
    return math.sqrt(math.prod(sizes) * elements) if len(sizes) == 2 else 0.0


def _has_strings(node: ir.Node) -> bool:
    """Whether a node reads or writes strings; the folder changes some strings, so they are not folded."""
    values = (*node.inputs, *node.outputs)
    return any(value is not None and value.dtype == ir.DataType.STRING for value in values)
