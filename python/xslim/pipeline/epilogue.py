"""One line at the end of a run: what the float16 epilogue of the provider is likely to cost."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from xslim import kernels
from xslim.errors import XSlimError
from xslim.export.epilogue import LARGEST, SWITCH, with_fp16_epilogues
from xslim.export.trial import TrialRun
from xslim.runtime import Isolated, Runs

logger = logging.getLogger(__name__)

SIMULATED_SAMPLES = 2
"""Number of samples of the simulation: it is a hint, and every sample runs twice."""


def log_epilogue(model: ir.Model, trials: Sequence[TrialRun], isolated: Isolated) -> None:
    """Simulate the epilogue on a few samples, and log the loss and the operators that overflow.

    Parameters
    ----------
    model : onnx_ir.Model
        The quantised model.
    trials : sequence of TrialRun
        Runs of the float model.
    isolated : Isolated
        The process that runs the models. A simulation that does not run is left out.
    """
    trials = trials[:SIMULATED_SAMPLES]
    if not trials:
        return
    names = trials[0].names
    epilogues = with_fp16_epilogues(model)
    if not epilogues.peaks:
        return
    try:
        # The first session is freed before the second one is made.
        before, _ = _errors(isolated.session(model, names, qdq_as_written=True), trials)
        chip = isolated.session(epilogues.model, [*names, *epilogues.peaks], qdq_as_written=True)
        after, peaks = _errors(chip, trials)
    except XSlimError as error:
        logger.debug("the epilogue is not simulated: %s", error)
        return
    worst = min(after, key=lambda name: after[name], default=None)
    if worst is not None:
        logger.info(
            "with the provider's float16 epilogue, simulated on %d samples: %s at %.2f dB, %.2f without",
            len(trials), worst, after[worst], before[worst],
        )  # fmt: skip
    operators = list(epilogues.peaks.values())
    large = [name for name, peak in zip(operators, peaks, strict=True) if not peak <= LARGEST]
    if large:
        logger.warning(
            "%s exceeds the largest float16 in the simulated epilogue: set %s on the board",
            ", ".join(large[:3]), SWITCH,
        )  # fmt: skip


def _errors(session: Runs, trials: Sequence[TrialRun]) -> tuple[dict[str, float], list[float]]:
    """Return the SQNR of every floating-point output in dB, and the largest value of every further output."""
    totals = {name: kernels.ErrorMetrics() for name in trials[0].names}
    peaks: list[float] = []
    for trial in trials:
        found = session.run(trial.feeds)
        for name, reference, output in zip(trial.names, trial.outputs, found, strict=False):
            if _comparable(reference, output):
                totals[name].update(reference, output)
        largest = [float(value) for value in found[len(trial.names) :]]
        peaks = [max(pair) for pair in zip(peaks or largest, largest, strict=True)]
    return {name: total.sqnr_db for name, total in totals.items() if total.count}, peaks


def _comparable(reference: object, output: object) -> bool:
    """Whether both are arrays of floats of one shape; shapes may depend on values."""
    if not isinstance(reference, np.ndarray) or not isinstance(output, np.ndarray):
        return False
    return bool(reference.dtype.kind == "f" and reference.shape == output.shape)
