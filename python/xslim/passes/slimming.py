"""Simplify a model with onnxslim, without passing it the weights."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import onnx_ir as ir

from xslim.errors import InternalError
from xslim.graph.ops import opset
from xslim.graph.outside import transform_proto
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
    *("Conv", "ConvTranspose", "Gemm", "BatchNormalization", "LRN"),
    *("Add", "Sub", "Mul", "Div", "Concat", "Flatten", "Resize"),
    *("AveragePool", "GlobalAveragePool", "GlobalMaxPool", "MaxPool"),
    *("Clip", "HardSigmoid", "HardSwish", "LeakyRelu", "PRelu", "Relu"),
    *("Elu", "Exp", "Sigmoid", "Softmax", "Tanh"),
}
"""Operators of models in which onnxslim finds nothing: on 12 such models, preparation gave the same nodes
without onnxslim."""


def has_work_for_onnxslim(model: ir.Model) -> bool:
    """Whether a model has operators other than those that only compute."""
    return any(node.domain != "" or node.op_type not in PLAIN for node in model.graph.all_nodes())


def run_onnxslim(model: ir.Model) -> ir.Model:
    """Return the model simplified by onnxslim, or the model itself, with a warning, if onnxslim fails.

    A model without standard operators is returned as it is, because onnxslim knows only these.
    """
    if not opset(model):
        return model
    try:
        slimmed = transform_proto(model, _onnxslim)
    # onnxslim raises whatever the graph at hand provokes; the model is sound without it, only larger.
    except (InternalError, Exception) as error:  # noqa: BLE001
        logger.warning("onnxslim failed and was left out: %s: %s", type(error).__name__, error)
        return model
    # onnxslim states some shapes wrongly, as behind a Resize that names its axes.
    settle_shapes(slimmed)
    return slimmed


def _onnxslim(proto: onnx.ModelProto) -> onnx.ModelProto:
    import onnxslim

    slimmed: onnx.ModelProto = onnxslim.slim(proto, skip_fusion_patterns=_OURS, skip_optimizations=_DONE)
    return slimmed
