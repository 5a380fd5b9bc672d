"""Conversion to float16, which halves the size and needs no calibration."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx_ir as ir

from xslim.export.decisions import Conversion, Decision
from xslim.export.fp16_casts import write_half
from xslim.export.fp16_choice import Choice
from xslim.passes.tidy import fit_ir_version
from xslim.targets import Target, load_target

# The target table of onnxruntime, in which every result runs once before it is written.
HOST = "generic"


def convert_to_half(
    model: ir.Model,
    target: Target,
    kept: Mapping[str, str] | None = None,
    wide: Collection[str] = (),
) -> Conversion:
    """Convert every operator to float16 that can be; inputs and outputs of the model keep their types.

    An operator stays float32 if ONNX, the target or onnxruntime has no float16 form of it, if a constant does
    not fit float16 (because it would overflow, or lose more than rounding does), or if its values may exceed
    65,504. The latter holds behind such a constant and around the tensors of `wide`. Bodies of control flow,
    functions and shape arithmetic stay float32 as well.

    Parameters
    ----------
    model : onnx_ir.Model
        The prepared model, with named nodes and inferred types; it is not changed.
    target : Target
        The operator table.
    kept : mapping of str to str, optional
        Names of operators that stay float32, each with the reason.
    wide : collection of str
        Names of tensors that are known to exceed the range of float16.

    Returns
    -------
    Conversion
        The new model, and a decision for every operator that has float32 data.
    """
    copy = model.clone()
    choice = Choice(copy, [target, load_target(HOST)], kept or {}, wide)
    decisions = [
        Decision(node.name or "", node.op_type, node in choice.half, choice.reasons.get(node, "float16"))
        for node in copy.graph
        if node in choice.half or node in choice.reasons
    ]
    write_half(copy.graph, choice)
    fit_ir_version(copy)
    return Conversion(copy, tuple(decisions))
