"""Find operators that onnxruntime cannot run, without loading the model in onnxruntime."""

from __future__ import annotations

from itertools import chain

import onnx_ir as ir

from xslim.errors import ModelError

# "" and "ai.onnx" are the standard domain; the other two are part of every build of onnxruntime.
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")

# How onnxruntime says that it has no kernel for an operator, or does not know the opset.
_GAPS = (
    "NOT_IMPLEMENTED",
    "is under development",
    "is not a registered function/op",
    "No Op registered for",
    "Could not find an implementation",
)


def unknown_operators(model: ir.Model) -> list[str]:
    """Return the operators, as ``domain.type``, that onnxruntime and the model's functions do not define."""
    bodies = (function.all_nodes() for function in model.functions.values())
    nodes = chain(model.graph.all_nodes(), *bodies)
    return list(
        dict.fromkeys(
            f"{node.domain}.{node.op_type}"
            for node in nodes
            if node.domain not in _DOMAINS and node.op_identifier() not in model.functions
        )
    )


def require_runnable(model: ir.Model) -> None:
    """Refuse to calibrate a model that onnxruntime cannot run.

    Raises
    ------
    ModelError
        The model has unknown operators.
    """
    unknown = unknown_operators(model)
    if unknown:
        raise ModelError(
            f"onnxruntime has no operator {', '.join(unknown)}, so the model cannot be calibrated",
            hint="cut the model before it with truncate_var_names, or convert without data (--dynq, --fp16)",
        )


def is_gap(error: ModelError) -> bool:
    """Whether onnxruntime refuses a model for what another release of it may have, not for a fault."""
    return any(text in error.what for text in _GAPS)
