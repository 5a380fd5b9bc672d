"""Compute what is known: constants, shapes, and everything that follows from them."""

from __future__ import annotations

import logging
import math

import onnx_ir as ir
from onnx_ir.passes import common

from xslim.graph.limits import FOLD_MB, limit
from xslim.graph.ops import is_standard, static_shape

logger = logging.getLogger(__name__)

# Folding may not blow a small recipe (ConstantOfShape, Expand, Range) up into a large weight.
_LARGEST_GROWTH = 1 << 18
# Where the size of a result is not known: operators whose result may be larger than what they read, and the
# bytes that others may read.
_ENLARGING = ("ConstantOfShape", "Expand", "OneHot", "Pad", "Range", "Resize", "Tile", "Upsample", "Concat")
_SMALL_INPUTS = 1 << 20
# Products that folding one node may take: seconds.
_MOST_WORK = 2.0**33
# Kept as they are: quantised weights and their scales belong together.
_NEVER_FOLDED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")


def infer_shapes(model: ir.Model) -> None:
    """Give every value the type and shape that follow from the inputs; symbolic names stay."""
    graph = model.graph
    inputs = list(graph.inputs)
    constants = [(value, value.const_value) for value in graph.initializers.values()]
    common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    # Where the model cannot be serialised, the pass leaves its initializers among the inputs.
    if len(graph.inputs) != len(inputs):
        graph.inputs[:] = inputs
        for value, tensor in constants:
            value.const_value = tensor
            graph.register_initializer(value)


def fold_constants(model: ir.Model) -> bool:
    """Evaluate every node whose inputs are constant, and remove what nothing reads any more.

    Identity and Dropout in inference disappear as well. Weights are folded too (a transposed or cast weight
    becomes a weight), unless the result would be larger than what it replaces.
    Returns whether anything changed.
    """
    from onnxscript.optimizer import fold_constants as fold

    lifted = common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model).modified
    folded = fold(
        model,
        onnx_shape_inference=True,
        output_size_limit=_LARGEST_GROWTH,
        should_fold=_Budget().allows,
    ).modified
    return remove_unused(model) or folded or lifted


def remove_unused(model: ir.Model) -> bool:
    """Remove nodes, initializers and opset imports that nothing reads; functions stay."""
    changed = common.RemoveUnusedNodesPass()(model).modified
    return common.RemoveUnusedOpsetsPass()(model).modified or changed


class _Budget:
    """Decides for the folder, which knows how large a result is only when it has computed it."""

    def __init__(self) -> None:
        self._left = limit(FOLD_MB) << 20

    def allows(self, node: ir.Node) -> bool | None:
        """True folds, False does not; random operators never arrive here."""
        if is_standard(node, *_NEVER_FOLDED) or _has_strings(node):
            return False
        before = sum(_bytes(value) for value in node.inputs if value is not None)
        shape, dtype = static_shape(node.outputs[0]), node.outputs[0].dtype
        if shape is None or dtype is None:
            # Results of unknown size may be of any size.
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
    """About how many products a matrix product or convolution takes: exact for two matrices."""
    sizes = [value.const_value.size for value in node.inputs[:2] if value is not None and value.const_value]
    return math.sqrt(math.prod(sizes) * elements) if len(sizes) == 2 else 0.0


def _has_strings(node: ir.Node) -> bool:
    """Whether a node reads or makes strings: the folder does not keep every string as it is."""
    values = (*node.inputs, *node.outputs)
    return any(value is not None and value.dtype == ir.DataType.STRING for value in values)
