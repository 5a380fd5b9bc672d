"""The judge: samples that no fit sees, and the score on them, in dB, that decides whether a step is kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim import kernels
from xslim.calibration.data import CalibrationData
from xslim.calibration.observe import Settings
from xslim.refinement.effort import EFFORT, FAIR_OUTPUTS, FEWEST_RUNS, LEAST_STRIDE, Effort
from xslim.runtime import Feeds, Session, thread_count

METRIC = "output SQNR (dB)"
MOST_DB = 200.0
"""The score of outputs without error."""


@dataclass(frozen=True)
class Split:
    """Which samples are held back: every `stride`-th one, none where there is only one.

    Samples are counted in runs of the model, which takes several at once where its batch is fixed; how many
    are decoded together makes no difference.

    Attributes
    ----------
    stride : int or None
        None holds nothing back.
    offset : int
        Number of the first sample that is held back; the last of a stride where it is negative.
    """

    stride: int | None
    offset: int = -1

    def holds_back(self, number: int) -> bool:
        """Whether the fit must not see the sample of this number."""
        return self.stride is not None and number % self.stride == self.offset % self.stride

    @property
    def shard(self) -> tuple[int, int]:
        """The samples that judge, as a shard of the calibration data."""
        return (self.offset % self.stride, self.stride) if self.stride is not None else (0, 1)


def split(runs: int, inputs: int, outputs: int, effort: Effort = EFFORT[1]) -> Split:
    """Choose the samples to hold back: as many as a fair judgement needs, at least one, at most a quarter.

    One of two or three is held back as well.

    Parameters
    ----------
    runs : int
        Number of runs of the model in one pass over the samples.
    inputs, outputs : int
        Elements of the inputs and of the outputs of one run.
    effort : Effort
        Of the finetune level: large inputs are held back sparingly at level 1, as every trial runs them all.
    """
    if runs < FEWEST_RUNS:
        return Split(None)
    fair = max(effort.judging_runs, math.ceil(FAIR_OUTPUTS / max(outputs, 1)))
    affordable = max(1, effort.judging_inputs // max(inputs, 1))
    stride = max(LEAST_STRIDE, math.ceil(runs / min(fair, affordable)))
    return Split(min(stride, runs))


def output_elements(model: ir.Model) -> int:
    """Elements of all outputs of one sample, as far as their shapes are known."""
    shapes = (value.shape or () for value in model.graph.outputs)
    return sum(math.prod(size for size in shape if isinstance(size, int)) for shape in shapes)


class Judge:
    """The outputs of the float model on the samples that were held back, and the score against them.

    Parameters
    ----------
    model : onnx_ir.Model
        The float model.
    data : CalibrationData
        The samples.
    settings : Settings
        How they are run.
    chosen : Split
        Which samples judge.

    Attributes
    ----------
    split : Split
        Which samples judge.
    feeds : list of feeds
        These samples.
    """

    def __init__(self, model: ir.Model, data: CalibrationData, settings: Settings, chosen: Split) -> None:
        self.split = chosen
        self.feeds: list[Feeds] = list(data.samples(settings.batch_size, thread_count(), chosen.shard))
        session = Session(model, threads=1)
        self._outputs = session.outputs
        self._expected = list(session.run_all(self.feeds))

    @property
    def can_judge(self) -> bool:
        """Whether there are samples that no fit sees."""
        return self.split.stride is not None

    def score(self, quantized: ir.Model) -> float:
        """Signal-to-noise ratio of a quantised model's outputs in dB, averaged over the outputs."""
        session = Session(quantized, self._outputs, threads=1, qdq_as_written=True)
        totals = output_errors(session, self.feeds, self._expected)
        measured = [min(total.sqnr_db, MOST_DB) for total in totals if total.count]
        return sum(measured) / len(measured) if measured else MOST_DB


def output_errors(
    session: Session, samples: Sequence[Feeds], expected: Sequence[Sequence[NDArray[np.generic]]]
) -> list[kernels.ErrorMetrics]:
    """Errors of every output of a session over all samples; only arrays of floats are counted."""
    totals = [kernels.ErrorMetrics() for _ in session.outputs]
    for references, outputs in zip(expected, session.run_all(samples), strict=True):
        for total, reference, found in zip(totals, references, outputs, strict=True):
            # A sequence or an optional output is no array.
            if isinstance(reference, np.ndarray) and reference.dtype.kind == "f":
                total.update(reference, _found_for(reference, found))
    return totals


def _found_for(reference: NDArray[np.generic], found: NDArray[np.generic]) -> NDArray[np.generic]:
    """What a quantised model returned, or zeros where its shape is another.

    A shape may depend on values, as behind non-maximum suppression. Then a model that returns another number
    of rows is as bad as one that returns none, so that candidates can still be compared.
    """
    return found if found.shape == reference.shape else np.zeros_like(reference)
