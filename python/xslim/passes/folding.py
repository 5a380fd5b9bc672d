"""Compute what is known: constants, shapes, and everything that follows from them."""

from __future__ import annotations

import logging

import onnx_ir as ir
from onnx_ir.passes import common

from xslim.graph.ops import is_standard

logger = logging.getLogger(__name__)

# Folding may not blow a small recipe (ConstantOfShape, Expand, Range) up into a large weight.
_LARGEST_GROWTH = 1 << 18
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
        should_fold=_should_fold,
    ).modified
    return remove_unused(model) or folded or lifted


def remove_unused(model: ir.Model) -> bool:
    """Remove nodes, initializers and opset imports that nothing reads; functions stay."""
    changed = common.RemoveUnusedNodesPass()(model).modified
    return common.RemoveUnusedOpsetsPass()(model).modified or changed


def _should_fold(node: ir.Node) -> bool | None:
    """Decide for the folder: True folds, False does not; random operators never arrive here."""
    return not is_standard(node, *_NEVER_FOLDED) and not _has_strings(node)


def _has_strings(node: ir.Node) -> bool:
    """Whether a node reads or makes strings: the folder does not keep every string as it is."""
    values = (*node.inputs, *node.outputs)
    return any(value is not None and value.dtype == ir.DataType.STRING for value in values)
