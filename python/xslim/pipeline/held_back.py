"""Samples that no fit sees, and the loss on them that decides whether a step is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice

import onnx_ir as ir

from xslim import kernels
from xslim.calibration.data import CalibrationData
from xslim.calibration.observe import Settings
from xslim.graph.io import to_proto
from xslim.runtime import Feeds, Session, thread_count

LEAST_STRIDE = 4
FEWEST_BATCHES = 3
MOST_ELEMENTS = 800_000
"""Elements of all inputs that are held back: many small samples, or a few large ones."""
METRIC = "output SQNR (dB)"
MOST_DB = 200.0


@dataclass(frozen=True)
class Split:
    """Which batches are held back: every `stride`-th one, none where there are too few for both uses."""

    stride: int | None

    def holds_back(self, number: int) -> bool:
        """Whether the fit must not see the batch of this number."""
        return self.stride is not None and number % self.stride == self.stride - 1

    @property
    def shard(self) -> tuple[int, int]:
        """The batches that judge, as a shard of the calibration data."""
        return (self.stride - 1, self.stride) if self.stride is not None else (0, 1)


def split(batches: int, elements: int) -> Split:
    """Choose the batches to hold back: a quarter of them, or as many as `MOST_ELEMENTS` allows, at least one.

    Parameters
    ----------
    batches : int
        Number of batches.
    elements : int
        Elements of one batch.
    """
    most = max(1, MOST_ELEMENTS // max(elements, 1))
    stride = max(LEAST_STRIDE, math.ceil(batches / most))
    return Split(stride if batches >= stride else None)


class HeldBack:
    """The outputs of the float model on the batches that were held back.

    Parameters
    ----------
    model : onnx_ir.Model
        The float model.
    data : CalibrationData
        The samples.
    settings : Settings
        How they are run.
    chosen : Split
        Which batches judge.
    """

    def __init__(self, model: ir.Model, data: CalibrationData, settings: Settings, chosen: Split) -> None:
        batches = data.batches(settings.batch_size, workers=thread_count(), shard=chosen.shard)
        self.feeds: list[Feeds] = list(islice(batches, FEWEST_BATCHES) if chosen.stride is None else batches)
        session = Session(_serialized(model))
        self._outputs = session.outputs
        self._expected = [session.run(feeds) for feeds in self.feeds]

    def sqnr(self, quantized: ir.Model) -> float:
        """Signal-to-noise ratio of a quantised model's outputs in dB, averaged over the outputs."""
        session = Session(_serialized(quantized), self._outputs, qdq_as_written=True)
        totals = [kernels.ErrorMetrics() for _ in self._outputs]
        for feeds, expected in zip(self.feeds, self._expected, strict=True):
            for total, reference, found in zip(totals, expected, session.run(feeds), strict=True):
                if reference.dtype.kind == "f":
                    total.update(reference, found)
        measured = [min(total.sqnr_db, MOST_DB) for total in totals if total.count]
        return sum(measured) / len(measured) if measured else MOST_DB


def _serialized(model: ir.Model) -> bytes:
    data: bytes = to_proto(model).SerializeToString()
    return data
