"""Which opset the model imports: kept, raised when something needs it, or converted on demand."""

from __future__ import annotations

import logging

import onnx_ir as ir

from xslim.errors import ModelError
from xslim.graph.ops import opset
from xslim.graph.outside import transform_proto

logger = logging.getLogger(__name__)


def convert_opset(model: ir.Model, target: int, reason: str) -> ir.Model:
    """Convert to `target`, log from, to and why, and return the new model.

    Raises
    ------
    ModelError
        The target is unknown, or an operator cannot be expressed in it.
    """
    from onnx import defs, version_converter

    current, newest = opset(model), defs.onnx_opset_version()
    if current in (target, 0):
        return model
    if not 1 <= target <= newest:
        raise ModelError(f"unknown opset {target}: the installed onnx knows 1 to {newest}")
    try:
        converted = transform_proto(model, lambda proto: version_converter.convert_version(proto, target))
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"cannot convert opset {current} to {target}: {_first_line(error)}", hint="choose another opset"
        ) from error
    logger.info("opset %d -> %d: %s", current, target, reason)
    return converted


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
