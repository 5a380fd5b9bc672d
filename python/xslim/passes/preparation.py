"""The whole preparation as one straight line of named steps."""

from __future__ import annotations

import logging

import onnx_ir as ir

from xslim.graph.interface import Interface
from xslim.graph.ops import opset
from xslim.passes.folding import fold_constants, infer_shapes, remove_unused
from xslim.passes.opset import convert_opset
from xslim.passes.rewriting import apply_rules
from xslim.passes.slimming import slim
from xslim.passes.tidy import (
    fit_ir_version,
    kernel_shapes,
    share_initializers,
    unique_names,
    unlist_initializers,
)

logger = logging.getLogger(__name__)

# Per-channel QuantizeLinear/DequantizeLinear.
PER_CHANNEL_OPSET = 13


def prepare(
    model: ir.Model,
    *,
    skip_slim: bool = False,
    opset: int | None = None,
    minimum_opset: int = PER_CHANNEL_OPSET,
) -> ir.Model:
    """Make the model small and canonical; it computes the same and looks the same from outside.

    Parameters
    ----------
    model : onnx_ir.Model
        As `xslim.graph.io.load_model` returns it; left unchanged.
    skip_slim : bool
        Leave onnxslim out.
    opset : int, optional
        The opset to convert to; None keeps the model's, raised where something needs more.
    minimum_opset : int
        The least opset that the result needs, for example 13 for per-channel Q/DQ.
        Ignored when `opset` is given.

    Returns
    -------
    onnx_ir.Model
        Every node with a unique name, shapes and types inferred, initializers off the inputs.

    Raises
    ------
    ModelError
        The opset cannot be converted.
    """
    interface = Interface.of(model)
    before = len(model.graph)
    model = model.clone()
    unlist_initializers(model)
    unique_names(model)
    model = _reach_opset(model, opset, minimum_opset)
    infer_shapes(model)
    fold_constants(model)
    if not skip_slim:
        model = slim(model)
        fold_constants(model)
    share_initializers(model)
    _rewrite(model)
    infer_shapes(model)
    fold_constants(model)
    kernel_shapes(model)
    unique_names(model)
    fit_ir_version(model)
    interface.restore(model)
    logger.info("prepared: %d nodes became %d", before, len(model.graph))
    return model


def _reach_opset(model: ir.Model, wanted: int | None, minimum: int) -> ir.Model:
    if wanted is not None:
        return convert_opset(model, wanted, "asked for")
    if opset(model) < minimum:
        return convert_opset(model, minimum, "the least that the result needs")
    return model


def _rewrite(model: ir.Model) -> None:
    from xslim.passes.rules import affine

    apply_rules(model, affine.rules)
    remove_unused(model)
