"""Find NaN and infinities in weights: refuse them if the weights are to be int8, else warn."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.errors import ModelError
from xslim.graph.io import release
from xslim.graph.ops import constant
from xslim.targets import Target

logger = logging.getLogger(__name__)

# Roles of operators for which a constant NaN gives NaN, while an infinite constant is a mask or a bound.
_ARITHMETIC = ("elementwise", "activation")
_SHOWN = 3


def check_weights(model: ir.Model, target: Target, *, refuse: bool) -> None:
    """Look for NaN and infinities in weights, and for NaN in other constants of arithmetic.

    Infinities in other constants are valid: attention masks, also those folded into a bias, and bounds of
    Clip.

    Parameters
    ----------
    model : onnx_ir.Model
        The prepared model.
    target : Target
        The table that tells the roles of operators.
    refuse : bool
        Whether such weights are an error (static int8) or only a warning.

    Raises
    ------
    ModelError
        A weight is not finite; the error names the tensor and the operator.
    """
    found = _findings(model, target)
    if refuse:
        for problem in found:
            raise ModelError(
                f"{problem}, so no scale fits it", hint="export the model again from sound weights"
            )
    problems = list(found)
    for problem in problems[:_SHOWN]:
        logger.warning("%s", problem)
    if len(problems) > _SHOWN:
        logger.warning("%d more tensors hold NaN or infinite values", len(problems) - _SHOWN)


def _findings(model: ir.Model, target: Target) -> Iterator[str]:
    seen: set[ir.Value] = set()
    for node in model.graph.all_nodes():
        operator = target.entry(node)
        role = operator.role
        if role != "compute" and role not in _ARITHMETIC:
            continue
        for position, value in enumerate(node.inputs):
            if value is None or value in seen or value.dtype is None or not value.dtype.is_floating_point():
                continue
            seen.add(value)
            array = constant(value)
            kind = _oddity(array) if array is not None else None
            release(value)
            if kind == "NaN" or (kind is not None and position in operator.dynamic_weights):
                yield f"constant {value.name!r} of {node.op_type} {node.name!r} holds {kind}"


def _oddity(array: NDArray[np.generic]) -> str | None:
    """Return "NaN" or "infinite values" if the array holds any, NaN first; None if all values are finite."""
    plain = array if array.dtype.kind == "f" else array.astype(np.float32)
    # For most arrays, a finite sum proves that all numbers are finite, without a temporary array.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(plain.sum(dtype=np.float64)):
            return None
    if np.isnan(plain).any():
        return "NaN"
    return "infinite values" if np.isinf(plain).any() else None
