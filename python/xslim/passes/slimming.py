"""Simplify a model with onnxslim, without passing it the weights."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import onnx_ir as ir

from xslim.errors import InternalError
from xslim.graph.ops import constant, integers, is_standard, opset, static_shape
from xslim.graph.outside import is_large, transform_proto
from xslim.passes.shapes import settle_shapes

if TYPE_CHECKING:
    import onnx

logger = logging.getLogger(__name__)

# Fusions that xslim.passes.rules.affine does, for every compute operator and with access to the weights.
_OURS = [
    "FusionConvAdd",
    "FusionConvBN",
    "FusionConvMul",
    "FusionConvTransposeAdd",
    "FusionConvTransposeBN",
    "FusionConvTransposeMul",
    "FusionGelu",
    "FusionGemm",
    "FusionGemmAdd",
    "FusionGemmMul",
    "FusionPadConv",
]


# Steps that `xslim.passes.folding` does before and after onnxslim; onnxslim would repeat them in every round.
_DONE = ["constant_folding", "subexpression_elimination", "weight_tying"]


PLAIN = {
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization", "LayerNormalization", "LRN"),
    *("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool", "ReduceMean", "Resize"),
    *("Clip", "HardSigmoid", "HardSwish", "LeakyRelu", "PRelu", "Relu"),
    *("Elu", "Erf", "Exp", "Pow", "Sigmoid", "Softmax", "Sqrt", "Tanh", "Flatten", "Gather"),
}
"""Operators that onnxslim leaves alone."""
ARITHMETIC = {"Add": 0, "Sub": 0, "Mul": 1, "Div": 1}
"""Operators that onnxslim removes if a constant holds nothing but this number."""
MOVING = {"Concat", "Reshape", "Slice", "Split", "Transpose"}
"""Operators that onnxslim removes if they change nothing, and merges if one reads another of its kind."""
JUDGED = PLAIN | ARITHMETIC.keys() | MOVING | {"Pad"}
# Operators through which onnxslim moves the first of two Transposes.
_VIEWS = ("Reshape", "Squeeze", "Unsqueeze")


def has_work_for_onnxslim(model: ir.Model) -> bool:
    """Whether onnxslim may find something in a model: anything but operators that stand for themselves.

    On 15 classifiers, detectors and recognisers without work, preparation gave the same nodes as with
    onnxslim, in a third of the time.
    """
    return any(_is_work(node) for node in model.graph.all_nodes())


def _is_work(node: ir.Node) -> bool:
    if node.domain != "" or node.op_type not in JUDGED:
        return True
    if node.op_type in ARITHMETIC:
        return any(_is_all(value, ARITHMETIC[node.op_type]) for value in node.inputs)
    if node.op_type == "Pad":
        amounts = integers(node.inputs[1]) if len(node.inputs) > 1 else None
        return amounts is None or not any(amounts)
    if node.op_type not in MOVING:
        return False
    source, result = node.inputs[0], node.outputs[0]
    if source is None or source.shape is None or source.shape == result.shape:
        return True
    if node.op_type == "Reshape" and constant(node.inputs[1]) is None:
        return True
    before = [other for value in node.inputs if value is not None and (other := value.producer()) is not None]
    if node.op_type == "Transpose":
        before += [
            other
            for view in before
            if is_standard(view, *_VIEWS) and view.inputs[0] is not None
            if (other := view.inputs[0].producer()) is not None
        ]
    return any(is_standard(other, node.op_type) for other in before)


def _is_all(value: ir.Value | None, number: int) -> bool:
    """Whether a constant holds nothing but this number; onnxslim does not see large ones."""
    if value is None or value.const_value is None or is_large(value):
        return False
    array = value.const_value.numpy()
    return bool(array.size) and bool((array == number).all())


def run_onnxslim(model: ir.Model) -> ir.Model:
    """Return the model simplified by onnxslim, or the model itself, with a warning, if onnxslim fails.

    A model without standard operators is returned as it is, because onnxslim knows only these.
    """
    if not opset(model):
        return model
    # Inference in onnxslim's every round can add nothing to shapes that are all known.
    known = all(static_shape(value) is not None for node in model.graph.all_nodes() for value in node.outputs)
    try:
        slimmed = transform_proto(model, partial(_onnxslim, no_shape_infer=known))
    # onnxslim raises whatever the graph at hand provokes; the model is sound without it, only larger.
    except (InternalError, Exception) as error:  # noqa: BLE001
        logger.warning("onnxslim failed and was left out: %s: %s", type(error).__name__, error)
        return model
    # onnxslim states some shapes wrongly, as behind a Resize that names its axes.
    settle_shapes(slimmed)
    return slimmed


def _onnxslim(proto: onnx.ModelProto, no_shape_infer: bool) -> onnx.ModelProto:
    import onnxslim

    slimmed: onnx.ModelProto = onnxslim.slim(
        proto, skip_fusion_patterns=_OURS, skip_optimizations=_DONE, no_shape_infer=no_shape_infer
    )
    return slimmed
