"""The proof of a conversion without data: valid, runs, close to the float model on random input."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.errors import CrashError, InternalError, ModelError
from xslim.export.verify import OutputComparison, compare_by_name, require_valid
from xslim.runtime import Feeds, Isolated, random_feeds, unknown_operators, with_less_optimisation

logger = logging.getLogger(__name__)

# Above this many bytes of weights a session keeps no second copy of them.
LEAN_ABOVE = 1 << 29


@dataclass(frozen=True)
class TrialRun:
    """What the float model made of an input."""

    feeds: Feeds
    outputs: Sequence[NDArray[np.generic]]
    names: Sequence[str]


def run_float_model(
    source: bytes | Path, model: ir.Model, isolated: Isolated, *, lean: bool
) -> TrialRun | None:
    """Run the float model once on random input of the right type, unless it has operators that no one knows.

    Parameters
    ----------
    source : bytes or Path
        The float model, serialised or as a file.
    model : onnx_ir.Model
        The same model, whose inputs say what to feed.
    isolated : Isolated
        The process that runs it.
    lean : bool
        See `Session`.

    Returns
    -------
    TrialRun or None
        None, with a warning, when onnxruntime lacks an operator or the model takes none of the inputs tried.

    Raises
    ------
    CrashError
        onnxruntime dies of the model.
    ModelError
        onnxruntime cannot load it.
    """
    if unknown := unknown_operators(model):
        logger.warning("onnxruntime has no operator %s: the result is neither run nor compared", unknown[0])
        return None
    refusal = ""

    def attempt(optimisation: str) -> TrialRun | None:
        nonlocal refusal
        session = isolated.session(source, lean=lean, optimisation=optimisation)
        for feeds in random_feeds(model):
            try:
                return TrialRun(feeds, session.run(feeds), session.outputs)
            except CrashError:
                raise
            except ModelError as error:
                refusal = error.what
        return None

    if trial := with_less_optimisation(attempt, "the float model"):
        return trial
    logger.warning("the float model does not run on random input, so nothing is compared: %s", refusal)
    return None


def check_file(
    file: Path,
    source: bytes | Path,
    trial: TrialRun | None,
    isolated: Isolated,
    *,
    lean: bool,
    loads: bool = True,
) -> list[OutputComparison]:
    """Check a converted model and compare it with the float model.

    Parameters
    ----------
    file : Path
        The converted model.
    source : bytes or Path
        The float model, serialised or as a file.
    trial : TrialRun or None
        The run of the float model; without one the model is only loaded.
    isolated : Isolated
        The process that runs the converted model.
    lean : bool
        See `Session`.
    loads : bool
        False for a model that onnxruntime cannot load: nothing is run then.

    Returns
    -------
    list of OutputComparison
        One per output that is a floating-point tensor and has the same shape in both.

    Raises
    ------
    InternalError
        The model is not valid, does not run, or returns something that is not finite where the float model
        does not.
    """
    require_valid(file, source, "converted")
    if not loads:
        return []

    def attempt(optimisation: str) -> Sequence[NDArray[np.generic]]:
        names = trial.names if trial else None
        session = isolated.session(file, names, lean=lean, optimisation=optimisation)
        return session.run(trial.feeds) if trial else []

    try:
        outputs = with_less_optimisation(attempt, "the converted model")
    except ModelError as error:
        raise InternalError(f"the converted model does not run: {error.what}") from error
    if trial is None:
        return []
    pairs = ([pair] for pair in zip(trial.outputs, outputs, strict=True))
    return compare_by_name(dict(zip(trial.names, pairs, strict=True)))
