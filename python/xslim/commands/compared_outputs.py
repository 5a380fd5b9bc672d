"""How far the outputs of two models are apart, output by output."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xslim import kernels
from xslim.runtime import array_pairs
from xslim.texts import spoken
from xslim.texts.columns import table as lines_of

logger = logging.getLogger(__name__)

Array = NDArray[np.generic]

COMPARABLE = "compare a model with what was made from it"
HEADS = ("output", "SQNR dB", "cosine", "MSE", "largest error", "top-1 same", "equal")


@dataclass(frozen=True)
class OutputPair:
    """One output of both models.

    Attributes
    ----------
    name : str
        The output.
    sqnr_db, cosine, mse, max_abs_error : float or None
        The second model against the first; None for outputs that are not floating-point.
    top1_agreement : float or None
        Share of the rows whose largest entry is the same, for outputs of shape (rows, classes).
    equal : float or None
        Share of the elements that are equal; None if nothing could be compared.
    left_out : int
        Number of samples for which the shapes differ, because they depend on values; all other figures leave
        these samples out.
    """

    name: str
    sqnr_db: float | None
    cosine: float | None
    mse: float | None
    max_abs_error: float | None
    top1_agreement: float | None
    equal: float | None
    left_out: int = 0


@dataclass
class Totals:
    """Sums of one output over the samples."""

    name: str
    sums: kernels.ErrorMetrics = field(default_factory=kernels.ErrorMetrics)
    floating: bool = True
    classes: bool = True
    samples: int = 0
    left_out: int = 0
    arrays: int = 0
    same: int = 0
    elements: int = 0
    agreed: int = 0
    rows: int = 0

    def add(self, expected: object, found: object) -> None:
        """Add the output of both models on one sample: an array, or a sequence of arrays."""
        self.samples += 1
        pairs = array_pairs(expected, found)
        if pairs is None:
            self.left_out += 1
        for pair in pairs or ():
            self._add_arrays(*pair)

    def _add_arrays(self, expected: Array, found: Array) -> None:
        self.floating = self.floating and expected.dtype.kind == "f" and found.dtype.kind == "f"
        self.classes = self.classes and expected.ndim == 2 and expected.shape[1] > 1
        self.arrays += 1
        self.same += int((expected == found).sum())
        self.elements += expected.size
        if self.floating:
            self.sums.update(expected, found)
        if self.classes:
            self.agreed += int((expected.argmax(axis=1) == found.argmax(axis=1)).sum())
            self.rows += len(expected)

    def result(self) -> OutputPair:
        """Return the figures of all samples; warn if some of them are left out."""
        if self.left_out:
            logger.warning(
                "%s: its shape depends on values and differs between the models for %d of %d samples",
                self.name,
                self.left_out,
                self.samples,
            )
        sums = self.sums if self.floating and self.arrays else None
        return OutputPair(
            name=self.name,
            sqnr_db=sums.sqnr_db if sums else None,
            cosine=sums.cosine if sums else None,
            mse=sums.mse if sums else None,
            max_abs_error=sums.max_abs_error if sums else None,
            top1_agreement=self.agreed / self.rows if self.classes and self.rows else None,
            equal=self.same / self.elements if self.elements else 1.0 if self.arrays else None,
            left_out=self.left_out,
        )


def table(outputs: Sequence[OutputPair]) -> Iterator[str]:
    """Return the lines of a table with one row for every output."""
    rows = [tuple(map(spoken, HEADS)), *(_row(output) for output in outputs)]
    yield from lines_of(rows, "<" + ">" * (len(HEADS) - 1))


def _row(output: OutputPair) -> tuple[str, ...]:
    return (
        output.name,
        _format(output.sqnr_db, ".2f"),
        _format(output.cosine, ".5f"),
        _format(output.mse, ".4g"),
        _format(output.max_abs_error, ".4g"),
        _format(output.top1_agreement, ".1%"),
        _format(output.equal, ".1%"),
    )


def _format(value: float | None, form: str) -> str:
    return "-" if value is None else "exact" if math.isinf(value) else format(value, form)


def finite(value: object) -> object:
    """Return None for a number that is not finite, which JSON lacks, and anything else as it is."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
