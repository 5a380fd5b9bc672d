"""The last check before a model is written: it is valid, runs, and is compared with the float model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import starmap
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from xslim import kernels
from xslim.errors import CrashError, InternalError, ModelError
from xslim.export.trial import TrialRun
from xslim.runtime import ColumnErrors, Isolated, LostColumns, array_pairs, with_less_optimisation
from xslim.runtime.engine import FULL

logger = logging.getLogger(__name__)

Array = NDArray[np.generic]

Called = Literal["converted", "quantised"]


@dataclass(frozen=True)
class OutputComparison:
    """The error of one output of the quantised model against the float model, over all compared samples.

    Attributes
    ----------
    name : str
        The output.
    sqnr_db, cosine, max_abs_error : float
        Of the quantised model against the float model.
    top1_agreement : float or None
        Share of the rows whose largest entry is the same, for outputs of shape (rows, classes).
    lost : LostColumns or None
        Columns whose values are lost, although the output as a whole is fine.
    """

    name: str
    sqnr_db: float
    cosine: float
    max_abs_error: float
    top1_agreement: float | None = None
    lost: LostColumns | None = None


class NotFiniteError(InternalError):
    """The quantised model returns NaN or infinities where the float model does not."""


class NotRunnableError(InternalError):
    """onnxruntime does not load or run the quantised model."""


def prove(
    result: bytes | Path,
    source: bytes | Path,
    trials: Sequence[TrialRun],
    isolated: Isolated,
    *,
    called: Called,
    lean: bool = False,
    loads: bool = True,
    fully_optimised: bool = False,
    survives: type[ModelError] = CrashError,
) -> list[OutputComparison]:
    """Check what is about to be written and compare it with the float model.

    Parameters
    ----------
    result : bytes or Path
        The model that is about to be written, serialised or a file.
    source : bytes or Path
        The float model, serialised or a file.
    trials : sequence of TrialRun
        Runs of the float model; the result runs on the same inputs. Without any, it is only loaded.
    isolated : Isolated
        The process that runs the result.
    called : {"converted", "quantised"}
        Name of the result in messages.
    lean : bool
        See `Session`.
    loads : bool
        Whether onnxruntime can load the result; if not, the result does not run.
    fully_optimised : bool
        Whether the result must run with onnxruntime's default optimisations.
    survives : type of ModelError
        The error after which a result that need not be fully optimised is tried again with less optimisation.

    Returns
    -------
    list of OutputComparison
        One per output that is a floating-point tensor and has the same shape in both.

    Raises
    ------
    NotRunnableError
        onnxruntime does not run the result.
    InternalError
        The result is not valid, or it returns NaN or infinities although the float model does not.
    """
    require_valid(result, source, called)
    if not loads:
        return []
    names = trials[0].names if trials else None

    def attempt(optimisation: str) -> list[Sequence[Array]]:
        session = isolated.session(result, names, lean=lean, optimisation=optimisation)
        return [session.run(trial.feeds) for trial in trials]

    try:
        if fully_optimised:
            found = attempt(FULL)
        else:
            found = with_less_optimisation(attempt, f"the {called} model", survives=survives)
    except ModelError as error:
        raise NotRunnableError(f"the {called} model does not run: {error.what}") from error
    pairs = [zip(trial.outputs, outputs, strict=True) for trial, outputs in zip(trials, found, strict=True)]
    return compare_by_name(dict(zip(names or (), zip(*pairs, strict=True), strict=True)))


def require_valid(model: bytes | Path, source: bytes | Path, kind: Called) -> None:
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
        alike = [found for found in starmap(array_pairs, pairs) if found is not None]
        if len(alike) < len(pairs):
            logger.warning(
                "%s: its shape depends on values and differs from the float model's for %d of %d inputs",
                name,
                len(pairs) - len(alike),
                len(pairs),
            )
        arrays = [pair for found in alike for pair in found]
        if arrays and arrays[0][0].dtype.kind == "f":
            rows.append(_compare_output(name, arrays))
    return rows


def _compare_output(name: str, pairs: Sequence[tuple[Array, Array]]) -> OutputComparison:
    total, columns = kernels.ErrorMetrics(), ColumnErrors()
    for reference, candidate in pairs:
        if np.isfinite(reference).all() and not np.isfinite(candidate).all():
            raise NotFiniteError(
                "the quantised model returns values that are not finite",
                where=name,
                hint="raise precision_level, or keep operators float with ignore_op_names",
            )
        total.update(reference, candidate)
        columns.add(reference, candidate)
    agreement, lost = _agreement(pairs), columns.lost()
    return OutputComparison(name, total.sqnr_db, total.cosine, total.max_abs_error, agreement, lost)


def _agreement(pairs: Sequence[tuple[Array, Array]]) -> float | None:
    if any(reference.ndim != 2 or reference.shape[1] < 2 or not len(reference) for reference, _ in pairs):
        return None
    same = [reference.argmax(axis=1) == candidate.argmax(axis=1) for reference, candidate in pairs]
    return float(np.concatenate(same).mean())
