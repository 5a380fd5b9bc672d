"""What the float model makes of random input and of samples, which a result is compared with."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.errors import CrashError, ModelError
from xslim.runtime import (
    Feeds,
    Isolated,
    Runs,
    is_gap,
    random_feeds,
    unknown_operators,
    with_less_optimisation,
)

logger = logging.getLogger(__name__)

# If the weights have more bytes than this, a session keeps no second copy of them.
LEAN_ABOVE = 1 << 29

HOW_TO_MEND = "export it again; --unchecked converts it all the same"


@dataclass(frozen=True)
class TrialRun:
    """A run of the float model: its inputs and its outputs."""

    feeds: Feeds
    outputs: Sequence[NDArray[np.generic]]
    names: Sequence[str]


def run_float_model(
    source: bytes | Path,
    model: ir.Model,
    isolated: Isolated,
    *,
    lean: bool = False,
    unchecked: bool = False,
    samples: Sequence[Feeds] = (),
) -> list[TrialRun] | None:
    """Run the float model on random input of the right type, and on samples.

    Parameters
    ----------
    source : bytes or Path
        The float model, serialised or as a file.
    model : onnx_ir.Model
        The same model, whose inputs determine the feeds.
    isolated : Isolated
        The child process that runs the model.
    lean : bool
        See `Session`.
    unchecked : bool
        Whether a model that cannot be run gives a warning and no error.
    samples : sequence of feeds
        Samples of the user; if the model runs on them, it need not run on random input.

    Returns
    -------
    list of TrialRun or None
        The runs. Empty, with a warning, if the model runs on none of the inputs; None, with a warning, if
        onnxruntime does not load the model, so that it need not load the result.

    Raises
    ------
    CrashError
        onnxruntime crashes on the model.
    ModelError
        onnxruntime refuses the model for every input although it knows the operators, or refuses a sample.
    """
    if unknown := unknown_operators(model):
        logger.warning("onnxruntime has no operator %s: the result is neither run nor compared", unknown[0])
        return None

    def attempt(optimisation: str) -> list[TrialRun]:
        session = _load(source, model, isolated, lean=lean, optimisation=optimisation)
        runs = [TrialRun(feeds, session.run(feeds), session.outputs) for feeds in samples]
        random = _run_on_random_input(session, model, known_to_run=bool(runs))
        return [random, *runs] if random is not None else runs

    try:
        return with_less_optimisation(attempt, "the float model")
    except ModelError as error:
        if not (unchecked or is_gap(error)):
            raise
        logger.warning("the result is neither run nor compared: %s", error.what)
    return None


def _run_on_random_input(session: Runs, model: ir.Model, *, known_to_run: bool) -> TrialRun | None:
    refusals = []
    try:
        for feeds in random_feeds(model):
            try:
                return TrialRun(feeds, session.run(feeds), session.outputs)
            except CrashError:
                raise
            except ModelError as error:
                refusals.append(error.what)
    except CrashError:
        raise
    except ModelError as error:
        # An input is not a tensor of numbers.
        refusals = [f"{error.where}: {error.what}"]
    if known_to_run:
        return None
    if len(refusals) > 1 and len(set(refusals)) == 1 and _takes_any_floats(model):
        raise ModelError(f"the float model does not run in onnxruntime: {refusals[0]}", hint=HOW_TO_MEND)
    reason = refusals[-1] if refusals else "it would take more elements than XSLIM_TRIAL_ELEMENTS allows"
    logger.warning("the float model does not run on random input, so nothing is compared: %s", reason)
    return None


def _load(
    source: bytes | Path, model: ir.Model, isolated: Isolated, *, lean: bool, optimisation: str
) -> Runs:
    """Load the float model from its file, or the model that was read from the file."""
    try:
        return isolated.session(source, lean=lean, optimisation=optimisation)
    except CrashError:
        raise
    except ModelError as refusal:
        if is_gap(refusal):
            raise
        try:
            return isolated.session(model, lean=lean, optimisation=optimisation)
        except ModelError:
            raise ModelError(
                f"the float model does not run in onnxruntime: {refusal.what}", hint=HOW_TO_MEND
            ) from refusal


def _takes_any_floats(model: ir.Model) -> bool:
    """Whether no input is an index or a size, so that the model should run on any random input."""
    return all(
        value.dtype is not None and value.dtype.is_floating_point() and value.shape is not None
        for value in model.graph.inputs
        if not value.is_initializer()
    )


def run_on_samples(source: bytes | Path, samples: Sequence[Feeds], isolated: Isolated) -> list[TrialRun]:
    """Run the float model, serialised or a file, on samples."""

    def attempt(optimisation: str) -> list[TrialRun]:
        session = isolated.session(source, optimisation=optimisation)
        return [TrialRun(feeds, session.run(feeds), session.outputs) for feeds in samples]

    return with_less_optimisation(attempt, "the float model")
