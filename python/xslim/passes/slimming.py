"""General slimming by onnxslim, without sending the weights through it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import onnx_ir as ir

from xslim.errors import InternalError
from xslim.graph.ops import opset
from xslim.graph.outside import transform_proto

if TYPE_CHECKING:
    import onnx

logger = logging.getLogger(__name__)

# What xslim.passes.affine does itself, for every compute operator and with the weights at hand.
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


# What the folding before and after it does; every round of onnxslim would look for it again.
_DONE = ["constant_folding", "subexpression_elimination", "weight_tying"]


def slim(model: ir.Model) -> ir.Model:
    """Return the model after onnxslim, or the model itself (with a warning) where onnxslim fails on it.

    A model without a single standard operator is left as it is: onnxslim knows no others.
    """
    if not opset(model):
        return model
    try:
        return transform_proto(model, _onnxslim)
    # onnxslim raises whatever the graph at hand provokes; the model is sound without it, only larger.
    except (InternalError, Exception) as error:  # noqa: BLE001
        logger.warning("onnxslim failed and was left out: %s: %s", type(error).__name__, error)
        return model


def _onnxslim(proto: onnx.ModelProto) -> onnx.ModelProto:
    import onnxslim

    slimmed: onnx.ModelProto = onnxslim.slim(proto, skip_fusion_patterns=_OURS, skip_optimizations=_DONE)
    return slimmed
