"""The judge: scores models, in dB, on samples held back from every fit; the score decides about a step."""

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
    """The samples that are held back: every `stride`-th one, or none if there is only one sample.

    Samples are counted in runs of the model: with a fixed batch, one run takes several samples. The number of
    samples that are decoded together has no influence.

    Attributes
    ----------
    stride : int or None
        Distance between samples that are held back; None if none is held back.
    offset : int
        Number of the first sample that is held back; if negative, the last one of the first stride.
    """

    stride: int | None
    offset: int = -1

    def holds_back(self, number: int) -> bool:
        """Whether the sample of this number is held back from every fit."""
        return self.stride is not None and number % self.stride == self.offset % self.stride

    @property
    def shard(self) -> tuple[int, int]:
        """The samples held back, as a shard of the calibration data."""
        return (self.offset % self.stride, self.stride) if self.stride is not None else (0, 1)


def split(runs: int, inputs: int, outputs: int, effort: Effort = EFFORT[1]) -> Split:
    """Choose the samples to hold back: as many as a reliable score needs, at least one, at most a quarter.

    Of two or three samples, one is held back.

    Parameters
    ----------
    runs : int
        Number of runs of the model in one pass over the samples.
    inputs, outputs : int
        Number of elements of all inputs, and of all outputs, of one run.
    effort : Effort
        Effort of the finetune level. At level 1, few samples with large inputs are held back, because every
        trial runs on all samples held back.
    """
    if runs < FEWEST_RUNS:
        return Split(None)
    fair = max(effort.judging_runs, math.ceil(FAIR_OUTPUTS / max(outputs, 1)))
    affordable = max(1, effort.judging_inputs // max(inputs, 1))
    stride = max(LEAST_STRIDE, math.ceil(runs / min(fair, affordable)))
    return Split(min(stride, runs))


def output_elements(model: ir.Model) -> int:
    """Return the number of elements of all outputs of one run, as far as their shapes are known."""
    shapes = (value.shape or () for value in model.graph.outputs)
    return sum(math.prod(size for size in shape if isinstance(size, int)) for shape in shapes)


class Judge:
    """Scores quantised models against the outputs of the float model on the samples held back.

    Parameters
    ----------
    model : onnx_ir.Model
        The float model.
    data : CalibrationData
        The samples.
    settings : Settings
        How the models run on them.
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
        """Whether any samples are held back."""
        return self.split.stride is not None

    def score(self, quantized: ir.Model) -> float:
        """Return the signal-to-noise ratio in dB of a quantised model, averaged over its outputs."""
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
    """Return an output of a quantised model, or zeros if its shape differs from that of the reference.

    A shape may depend on values, as behind non-maximum suppression. A model that returns another number of
    rows then scores like one that returns zeros, so that candidates can still be compared.
    """
    return found if found.shape == reference.shape else np.zeros_like(reference)
