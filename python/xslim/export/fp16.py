"""float16: half the size, float arithmetic, no calibration needed."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx_ir as ir

from xslim.export.decisions import Conversion, Decision
from xslim.export.fp16_casts import write_half
from xslim.export.fp16_choice import Choice
from xslim.passes.tidy import fit_ir_version
from xslim.targets import Target, load_target

# The table of onnxruntime itself, on which every result is run before it is handed over.
HOST = "generic"


def convert_to_half(
    model: ir.Model,
    target: Target,
    kept: Mapping[str, str] | None = None,
    wide: Collection[str] = (),
) -> Conversion:
    """Let every operator compute in float16 that can; inputs and outputs of the model keep their types.

    An operator stays float32 where ONNX, the target or onnxruntime have no float16 for it, where a constant
    does not fit (it would overflow, or lose more than rounding does), and where its values may exceed
    65,504: downstream of such a constant, and around the tensors of `wide`. Bodies of control flow and
    functions stay float32, arithmetic on shapes as well.

    Parameters
    ----------
    model : onnx_ir.Model
        Prepared: named nodes, inferred types. It is not changed.
    target : Target
        The operator table.
    kept : mapping of str to str, optional
        Names of operators that stay float32, with the reason.
    wide : collection of str
        Tensors that are known to exceed the range of float16.

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
