"""The judge: scores models, in dB, on samples held back from every fit; the score decides about a step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim import kernels
from xslim.calibration.data import CalibrationData
from xslim.calibration.observe import Settings
from xslim.graph.outputs import set_outputs, with_outputs
from xslim.graph.saturation import operands, saturated_outputs
from xslim.graph.tail import joined_outputs
from xslim.refinement.effort import (
    EFFORT,
    FAIR_OUTPUTS,
    FEWEST_AFFORDABLE,
    FEWEST_RUNS,
    LEAST_STRIDE,
    RESERVE,
    Effort,
)
from xslim.refinement.outcome import MOST_DB, SATURATED_DB, Outcome
from xslim.runtime import Feeds, Session, copied, is_lean_for_few_runs, split_columns, thread_count
from xslim.runtime import Split as ColumnSplit

METRIC = "output SQNR (dB)"

EVERY = slice(None)


@dataclass(frozen=True)
class Split:
    """The samples that are held back: of every `stride` samples some, or none if there is only one sample.

    Samples are counted in runs of the model: with a fixed batch, one run takes several samples. The number of
    samples that are decoded together has no influence.

    Attributes
    ----------
    stride : int or None
        Number of samples of which the same ones are held back; None if none is held back.
    offsets : tuple of int
        Numbers of the samples that are held back among the first `stride` ones; negative numbers count from
        the end.
    """

    stride: int | None
    offsets: tuple[int, ...] = (-1,)

    def holds_back(self, number: int) -> bool:
        """Whether the sample of this number is held back from every fit."""
        return self.stride is not None and any(
            number % self.stride == offset % self.stride for offset in self.offsets
        )

    def may_judge(self, number: int) -> bool:
        """Whether the sample of this number is held back or in the reserve."""
        reserve = self.reserve()
        return self.holds_back(number) or (reserve is not None and reserve.holds_back(number))

    def reserve(self) -> Split | None:
        """Return `RESERVE` times as many other samples, at most a quarter; None if there are few."""
        if self.stride is None or self.stride < 2 * LEAST_STRIDE:
            return None
        count = min(RESERVE, self.stride // LEAST_STRIDE)
        # The last sample of every stride judges already.
        others = tuple((2 * index + 1) * (self.stride - 1) // (2 * count) for index in range(count))
        return Split(self.stride, others)

    @property
    def shards(self) -> list[tuple[int, int]]:
        """The samples held back, as shards of the calibration data."""
        if self.stride is None:
            return [(0, 1)]
        return sorted((offset % self.stride, self.stride) for offset in self.offsets)


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
    affordable = max(FEWEST_AFFORDABLE, effort.judging_inputs // max(inputs, 1))
    stride = max(LEAST_STRIDE, math.ceil(runs / min(fair, affordable)))
    return Split(min(stride, runs))


def output_elements(model: ir.Model) -> int:
    """Return the number of elements of all outputs of one run, as far as their shapes are known."""
    shapes = (value.shape or () for value in model.graph.outputs)
    return sum(math.prod(size for size in shape if isinstance(size, int)) for shape in shapes)


class Judge:
    """Scores quantised models against the float model on the samples held back.

    The outputs are judged, and behind an output of a saturating function, the input of the function as well:
    samples on which the function saturates hide the error, and the few others outweigh them.

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
    like : Judge, optional
        Another judge of the same model, whose columns are taken, so that outcomes can be joined.
    expected : sequence of sequence of arrays, optional
        The judged tensors of the float model on these samples, if it has run on them already.

    Attributes
    ----------
    split : Split
        Which samples judge.
    feeds : list of feeds
        These samples.
    tensors : list of str
        Names of the judged tensors in the float model.
    """

    def __init__(
        self,
        model: ir.Model,
        data: CalibrationData,
        settings: Settings,
        chosen: Split,
        like: Judge | None = None,
        expected: Sequence[Sequence[NDArray[np.generic]]] | None = None,
    ) -> None:
        self.split = chosen
        self.feeds: list[Feeds] = [
            sample
            for shard in chosen.shards
            for sample in data.samples(settings.batch_size, thread_count(), shard)
        ]
        saturated = saturated_outputs(model.graph)
        self._functions = [node.name or "" for nodes in saturated.values() for node in nodes]
        self._outputs = [value.name or "" for value in model.graph.outputs]
        most = [SATURATED_DB if name in saturated else MOST_DB for name in self._outputs]
        self._most_db = np.array([*most, *(MOST_DB for _ in self._functions)])
        names = self._judged(model)
        self.tensors = names
        if expected is None:
            shown = with_outputs(model, list(dict.fromkeys(names)))
            session = Session(shown, names, threads=1)
            expected = [copied(row) for row in session.run_all(self.feeds)]
        self._expected = expected
        self._splits: list[ColumnSplit | None] = like._splits if like else self._find_splits(model, names)
        parts = [1 if part is None else 2 for part in self._splits] or [1] * len(names)
        self._counted: NDArray[np.bool_] = (
            like._counted if like else np.repeat(self._hold_floats(len(names)), parts)
        )
        self._most_db = np.repeat(self._most_db, parts)[self._counted]

    def _find_splits(self, model: ir.Model, names: Sequence[str]) -> list[ColumnSplit | None]:
        """Find the outputs that join results of different scale."""
        joined = joined_outputs(model.graph)
        return [
            split_columns(arrays) if name in joined and _are_floats(arrays) else None
            for name, arrays in zip(names, zip(*self._expected, strict=True), strict=False)
        ]

    def _hold_floats(self, count: int) -> NDArray[np.bool_]:
        """Tell which of the judged tensors hold floating-point values on any sample."""
        found = np.zeros(count, bool)
        for row in self._expected:
            found |= [
                isinstance(item, np.ndarray) and item.dtype.kind == "f" and item.size > 0 for item in row
            ]
        return found

    @property
    def is_fair(self) -> bool:
        """Whether the judged values are numerous enough for a reliable score."""
        sizes = (item.size for row in self._expected for item in row if isinstance(item, np.ndarray))
        return sum(sizes) >= FAIR_OUTPUTS

    @property
    def can_judge(self) -> bool:
        """Whether any samples are held back."""
        return self.split.stride is not None

    def judge(self, quantized: ir.Model) -> Outcome:
        """Return the errors of a quantised model, whose outputs become the judged tensors."""
        return self.judge_fed(self.session(quantized), self.feeds)

    def judge_fed(self, session: Session, feeds: Sequence[Feeds]) -> Outcome:
        """Return the errors of a session whose inputs are made of the samples of this judge."""
        return self.outcome_of(session.run_all(feeds))

    def outcome_of(self, outputs: Iterable[Sequence[NDArray[np.generic]]], part: slice = EVERY) -> Outcome:
        """Return the errors of given values of the judged tensors on a part of the samples."""
        errors = output_errors(outputs, self._expected[part], self._splits)
        shape = len(errors), len(self._counted)
        signal = np.array([[item.reference_energy for item in row] for row in errors]).reshape(shape)
        noise = np.array([[item.noise_energy for item in row] for row in errors]).reshape(shape)
        return Outcome(signal[:, self._counted], noise[:, self._counted], self._most_db)

    def session(self, quantized: ir.Model) -> Session:
        """Return a session of the judged tensors of a quantised model, whose outputs they become."""
        lean = is_lean_for_few_runs(quantized)
        return Session(quantized, self.show(quantized), threads=1, qdq_as_written=True, lean=lean)

    def show(self, quantized: ir.Model) -> list[str]:
        """Make the judged tensors the outputs of a quantised model, and return their names."""
        names = self._judged(quantized)
        set_outputs(quantized, list(dict.fromkeys(names)))
        return names

    def _judged(self, model: ir.Model) -> list[str]:
        """Return the judged tensors of a model."""
        return [*self._outputs, *operands(model, self._functions)]


def _are_floats(arrays: Sequence[object]) -> bool:
    return all(isinstance(array, np.ndarray) and array.dtype.kind == "f" for array in arrays)


def output_errors(
    outputs: Iterable[Sequence[NDArray[np.generic]]],
    expected: Sequence[Sequence[NDArray[np.generic]]],
    splits: Sequence[ColumnSplit | None] | None = None,
) -> list[list[kernels.ErrorMetrics]]:
    """Errors of every output, for every sample; only arrays of floats are counted.

    An output with a split counts as two: its large and its small columns. Otherwise the boxes of a detector,
    of 0 to 640, would hide the scores, of 0 to 1.
    """
    rows = []
    for references, values in zip(expected, outputs, strict=True):
        row = []
        for split, reference, found in zip(splits or [None] * len(values), references, values, strict=True):
            parts = [kernels.ErrorMetrics() for _ in range(1 if split is None else 2)]
            # A sequence or an optional output is no array.
            if isinstance(reference, np.ndarray) and reference.dtype.kind == "f":
                candidate = _found_for(reference, found)
                pairs = [(reference, candidate)]
                if split is not None:
                    pairs = list(zip(split.parts(reference), split.parts(candidate), strict=True))
                for metrics, (a, b) in zip(parts, pairs, strict=True):
                    metrics.update(a, b)
            row += parts
        rows.append(row)
    return rows


def _found_for(reference: NDArray[np.generic], found: NDArray[np.generic]) -> NDArray[np.generic]:
    """Return an output of a quantised model, or zeros if its shape differs from that of the reference.

    A shape may depend on values, as behind non-maximum suppression. A model that returns another number of
    rows then scores like one that returns zeros, so that candidates can still be compared.
    """
    return found if found.shape == reference.shape else np.zeros_like(reference)
