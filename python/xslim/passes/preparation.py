"""The whole preparation, step after step."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence

import onnx_ir as ir
from onnx_ir.passes import common

from xslim.graph.garbage import collector_paused
from xslim.graph.interface import Interface
from xslim.graph.ops import opset as imported
from xslim.passes.attention import split_packed_products
from xslim.passes.axes import write_out_axes
from xslim.passes.chains import merge_chains
from xslim.passes.folding import fold_constants, infer_shapes, remove_unused
from xslim.passes.foreign import replace_foreign
from xslim.passes.functions import DOMAIN, WINDOW_BODY, add_function
from xslim.passes.fusion import EVERY_FUSION, fuse
from xslim.passes.lowering import lower_opset
from xslim.passes.opset import convert_opset, early_operators
from xslim.passes.resizing import name_all_axes
from xslim.passes.rewriting import apply_rules
from xslim.passes.rules import affine, arithmetic, forms, movement, windows
from xslim.passes.shapes import settle_shapes
from xslim.passes.sizes import known_sizes
from xslim.passes.slimming import has_work_for_onnxslim, run_onnxslim
from xslim.passes.splitting import slices_to_split
from xslim.passes.steps import UNHEARD, Steps
from xslim.passes.tidy import (
    fit_ir_version,
    kernel_shapes,
    order_operands,
    share_initializers,
    unique_names,
    unlist_initializers,
)
from xslim.passes.yolo import decode_heads
from xslim.passes.yolo_anchors import decode_anchor_heads

logger = logging.getLogger(__name__)

ONNXSLIM = "onnxslim"
# Per-channel QuantizeLinear/DequantizeLinear.
PER_CHANNEL_OPSET = 13


@collector_paused()
def prepare(
    model: ir.Model,
    *,
    skip_slim: bool = False,
    opset: int | None = None,
    minimum_opset: int = PER_CHANNEL_OPSET,
    raise_opset_for: Collection[str] = EVERY_FUSION,
    functions: bool = True,
    keep: Sequence[str] = (),
    unpack: bool = False,
    corrected: Mapping[str, ir.Shape] | None = None,
    steps: Steps = UNHEARD,
) -> ir.Model:
    """Make the model small and canonical; its interface and its results stay the same.

    Parameters
    ----------
    model : onnx_ir.Model
        A model as `xslim.graph.io.load_model` returns it; it is not changed.
    skip_slim : bool
        Whether to leave onnxslim out.
    opset : int, optional
        The opset to convert to. None keeps the model's opset, or raises it if `least_opset` or a fusion needs
        a higher one.
    minimum_opset : int
        The lowest opset that the result may have, for example 13 for per-channel Q/DQ.
        Ignored if `opset` is given.
    raise_opset_for : collection of str
        Fused operators (`xslim.passes.EVERY_FUSION` by default) for which the opset is raised. Fusions to
        operators that the opset has already are always applied. If `opset` is given, it is never raised.
    functions : bool
        Whether detection heads and window shuffles become nodes of the domain ``spacemit_functions``. The
        model then contains the functions' bodies. False keeps standard operators.
    keep : sequence of str
        Tensors of the main graph that must exist under the same names in the result, for example because the
        model will be split there. Nothing is fused across them. Names that no node computes are ignored.
    unpack : bool
        Take the weights out of onnxruntime's attention operators, so that they can be int8.
    corrected : mapping of str to Shape, optional
        Shapes of outputs whose declaration is wrong, as a run has shown: it is neither believed nor kept.
    steps : Steps
        Hears of every step that may change what the model computes.

    Returns
    -------
    onnx_ir.Model
        A model whose nodes have unique names, with inferred shapes and types and without initializers in the
        list of inputs.

    Raises
    ------
    ModelError
        The model cannot be converted to the opset.
    """
    interface = Interface.of(model)
    before = len(model.graph)
    model = model.clone()
    unlist_initializers(model)
    kept = _pin(model, keep)
    unique_names(model)
    wrong = settle_shapes(model, corrected)
    interface = interface.with_shapes(_repaired(model, wrong))
    name_all_axes(model)
    replace_foreign(model, unpack=unpack)
    steps.done("the replacement of onnxruntime's operators", model)
    model = _reach_opset(model, opset, minimum_opset, steps)
    _fold(model, steps)
    if not skip_slim:
        model = _slim(model, steps)
    model = _rewrite(model, opset, raise_opset_for, steps)
    if opset is not None and opset < imported(model):
        model = lower_opset(model, opset)
        steps.done(f"the conversion to opset {opset}", model)
    infer_shapes(model)
    fold_constants(model)
    if functions:
        _extract_functions(model, steps)
    kernel_shapes(model)
    unique_names(model)
    fit_ir_version(model)
    del model.graph.outputs[len(model.graph.outputs) - kept :]
    interface.restore(model)
    steps.done("the last tidying", model)
    logger.info("prepared: %d nodes became %d", before, len(model.graph))
    return model


def _repaired(model: ir.Model, wrong: Collection[str]) -> dict[str, ir.Shape]:
    """What takes the place of wrong declarations of outputs: what is known instead."""
    shapes = {
        value.name or "": value.shape
        for value in model.graph.outputs
        if value.name in wrong and value.shape is not None
    }
    for name, shape in shapes.items():
        logger.warning("output %s: its declared shape is wrong, it is %s", name, shape)
    return shapes


def _fold(model: ir.Model, steps: Steps) -> None:
    """Everything that follows from constants and shapes; onnxslim then has a tenth of the nodes left."""
    fold_constants(model)
    steps.done("the folding of constants", model)
    infer_shapes(model)
    while known_sizes(model):
        fold_constants(model)
        infer_shapes(model)
    write_out_axes(model)
    steps.done("the folding of sizes", model)
    apply_rules(model, forms.rules, steps)
    fold_constants(model)
    share_initializers(model)
    common.CommonSubexpressionEliminationPass()(model)
    steps.done("the folding of constants", model)


def _slim(model: ir.Model, steps: Steps) -> ir.Model:
    merge_chains(model)
    steps.done("the merging of chains of Slice, Transpose and Reshape", model)
    if has_work_for_onnxslim(model):
        model = run_onnxslim(model)
        steps.done(ONNXSLIM, model)
        fold_constants(model)
    return model


def _pin(model: ir.Model, names: Sequence[str]) -> int:
    """Add the named tensors to the outputs, so that every step keeps them; return how many were added."""
    outputs = set(model.graph.outputs)
    wanted = set(names)
    pinned = [
        value
        for node in model.graph
        for value in node.outputs
        if value.name in wanted and value not in outputs
    ]
    model.graph.outputs.extend(pinned)
    return len(pinned)


def _reach_opset(model: ir.Model, wanted: int | None, minimum: int, steps: Steps) -> ir.Model:
    early = early_operators(model)
    if early and max(early.values()) > max(wanted or 0, minimum, imported(model)):
        needed = max(early.values())
        model = _convert(model, needed, f"{', '.join(early)} needs it", steps)
    if wanted is not None and wanted > imported(model):
        return _convert(model, wanted, "asked for", steps)
    if wanted is None and imported(model) < minimum:
        return _convert(model, minimum, "the least that the result needs", steps)
    return model


def _convert(model: ir.Model, target: int, reason: str, steps: Steps) -> ir.Model:
    current = imported(model)
    model = convert_opset(model, target, reason)
    steps.done(f"the conversion of opset {current} to {target}", model)
    return model


def _rewrite(model: ir.Model, wanted: int | None, raise_opset_for: Collection[str], steps: Steps) -> ir.Model:
    order_operands(model)
    apply_rules(model, (*forms.rules, *arithmetic.rules), steps)
    common.CommonSubexpressionEliminationPass()(model)
    slices_to_split(model)
    split_packed_products(model)
    steps.done("the merging of slices and splitting of products", model)
    apply_rules(model, (*movement.rules, *affine.rules), steps)
    model = fuse(model, wanted=wanted, raise_opset_for=raise_opset_for, steps=steps)
    apply_rules(model, (*movement.rules, *affine.rules, *forms.rules), steps)
    remove_unused(model)
    return model


def _extract_functions(model: ir.Model, steps: Steps) -> None:
    apply_rules(model, windows.rules)
    used = {node.op_type for node in model.graph if node.domain == DOMAIN}
    for operator in sorted(used.intersection(windows.OPERATORS)):
        add_function(model, operator, WINDOW_BODY)
    steps.done("the functions for window shuffles", model)
    decode_heads(model)
    decode_anchor_heads(model)
    remove_unused(model)
    steps.done("the functions for detection heads", model)
