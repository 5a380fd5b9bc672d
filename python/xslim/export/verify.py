"""The last check before a model is written: it is valid, runs, and is compared with the float model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from xslim import kernels
from xslim.errors import InternalError, ModelError
from xslim.runtime import Feeds, Isolated, with_less_optimisation
from xslim.runtime.engine import FULL

logger = logging.getLogger(__name__)

Array = NDArray[np.generic]

_Runs = tuple[Sequence[str], list[list[Array]]]
"""The names of a model's outputs, and their values for every sample."""


@dataclass(frozen=True)
class OutputComparison:
    """The error of one output of the quantised model against the float model, over all compared samples."""

    name: str
    sqnr_db: float
    cosine: float
    max_abs_error: float


class NotFiniteError(InternalError):
    """The quantised model returns NaN or infinities where the float model does not."""


class NotRunnableError(InternalError):
    """onnxruntime does not load or run the quantised model."""


def compare_outputs(
    float_model: bytes | Path,
    quantized: bytes | Path,
    samples: Sequence[Feeds],
    isolated: Isolated,
    *,
    fully_optimised: bool = False,
) -> list[OutputComparison]:
    """Check the quantised model and compare it with the float model on a few samples.

    Parameters
    ----------
    float_model : bytes or Path
        The float model, serialised or a file.
    quantized : bytes or Path
        The quantised model, serialised or a file.
    samples : sequence of feeds
        The samples on which both models run; at least one.
    isolated : Isolated
        The child process that runs the models.
    fully_optimised : bool
        Whether the quantised model must run with onnxruntime's default optimisations. If not, a model on
        which the optimiser fails is accepted, with a warning, if it runs without optimisation.

    Returns
    -------
    list of OutputComparison
        One per output that is a floating-point tensor and has the same shape in both.

    Raises
    ------
    NotRunnableError
        onnxruntime does not run the quantised model.
    InternalError
        The quantised model is not valid, or it returns NaN or infinities although the float model does not.
    """
    require_valid(quantized, float_model, "quantised")

    def run(model: bytes | Path, names: Sequence[str] | None, optimisation: str) -> _Runs:
        session = isolated.session(model, names, optimisation=optimisation)
        return session.outputs, [session.run(feeds) for feeds in samples]

    names, expected = with_less_optimisation(partial(run, float_model, None), "the float model")
    attempt = partial(run, quantized, names)
    try:
        if fully_optimised:
            _, found = attempt(FULL)
        else:
            _, found = with_less_optimisation(attempt, "the quantised model", survives=ModelError)
    except ModelError as error:
        raise NotRunnableError(f"the quantised model does not run: {error.what}") from error
    outputs = zip(*(zip(a, b, strict=True) for a, b in zip(expected, found, strict=True)), strict=True)
    return compare_by_name(dict(zip(names, outputs, strict=True)))


def require_valid(model: bytes | Path, source: bytes | Path, kind: str) -> None:
    """Check a result with onnx, provided that onnx accepts the model from which the result was made.

    onnxruntime runs some models that onnx refuses, because an output lacks a shape or an opset lacks an
    operator. The results of such models are checked in onnxruntime only.

    Parameters
    ----------
    model : bytes or Path
        The result.
    source : bytes or Path
        The model from which the result was made.
    kind : str
        The kind of result, for the error message.

    Raises
    ------
    InternalError
        The result is not valid, although its source is.
    """
    objection = _objection(model)
    if objection is None:
        return
    if _objection(source) is None:
        raise InternalError(f"the {kind} model is not valid: {objection}")
    logger.info("onnx objects to the %s model as to the original: %s", kind, objection.splitlines()[0])


def _objection(model: bytes | Path) -> str | None:
    try:
        onnx.checker.check_model(model if isinstance(model, bytes) else str(model))
    except onnx.checker.ValidationError as error:
        return str(error)
    return None


def compare_by_name(outputs: Mapping[str, Sequence[tuple[Array, Array]]]) -> list[OutputComparison]:
    """Compare the floating-point outputs of two models; each has a pair of arrays for every sample.

    The shape of an output may depend on values, as behind non-maximum suppression. Samples for which the
    shapes differ are left out with a warning; an output without remaining samples has no comparison.

    Raises
    ------
    NotFiniteError
        The quantised model returns NaN or infinities where the float model does not.
    """
    rows = []
    for name, pairs in outputs.items():
        pairs = [pair for found in pairs for pair in _arrays(*found)]
        alike = [(a, b) for a, b in pairs if a.shape == b.shape]
        if len(alike) < len(pairs):
            logger.warning(
                "%s: its shape depends on values and differs from the float model's for %d of %d inputs",
                name,
                len(pairs) - len(alike),
                len(pairs),
            )
        if alike and alike[0][0].dtype.kind == "f":
            rows.append(_compare_output(name, alike))
    return rows


def _arrays(reference: object, candidate: object) -> list[tuple[Array, Array]]:
    """The arrays of an output: one, those of a sequence, or none."""
    if isinstance(reference, list) and isinstance(candidate, list):
        return [pair for a, b in zip(reference, candidate, strict=False) for pair in _arrays(a, b)]
    if isinstance(reference, np.ndarray) and isinstance(candidate, np.ndarray):
        return [(reference, candidate)]
    return []


def _compare_output(name: str, pairs: Sequence[tuple[Array, Array]]) -> OutputComparison:
    total = kernels.ErrorMetrics()
    for reference, candidate in pairs:
        if np.isfinite(reference).all() and not np.isfinite(candidate).all():
            raise NotFiniteError(
                "the quantised model returns values that are not finite",
                where=name,
                hint="raise precision_level, or keep operators float with ignore_op_names",
            )
        total.update(reference, candidate)
    return OutputComparison(name, total.sqnr_db, total.cosine, total.max_abs_error)
