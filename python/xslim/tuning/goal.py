"""What the user wants of the outputs, and whether a trial has it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from xslim.tuning.trial import Trial

Measure = Literal["sqnr", "cosine", "agreement", "metric"]

MOST_DB = 200.0
"""Stands for outputs without error."""


@dataclass(frozen=True)
class Goal:
    """A measure and the least value of it.

    Attributes
    ----------
    measure : {"sqnr", "cosine", "agreement", "metric"}
        SQNR in dB, cosine or top-1 agreement of the worst output, or the user's metric; bigger is better.
    least : float or None
        The value that is wanted; None to look for the best trade-off.
    """

    measure: Measure = "sqnr"
    least: float | None = None

    def value(self, trial: Trial) -> float:
        """Return the measure of a trial; an output that it cannot be computed for counts as perfect."""
        if self.measure == "metric":
            return -math.inf if trial.metric is None else trial.metric
        if self.measure == "sqnr":
            return trial.worst_db
        rows = [row.cosine if self.measure == "cosine" else row.top1_agreement for row in trial.outputs]
        return min((value for value in rows if value is not None), default=1.0)

    def is_met(self, trial: Trial) -> bool:
        """Whether the trial has what is wanted."""
        return self.least is not None and self.value(trial) >= self.least

    @property
    def is_predictable(self) -> bool:
        """Whether the noise of single quantisers predicts the measure."""
        return self.measure in ("sqnr", "cosine")

    @property
    def least_db(self) -> float | None:
        """The SQNR in dB that stands for the wanted value, or None if no SQNR does."""
        if self.least is None or not self.is_predictable:
            return None
        return self.least if self.measure == "sqnr" else cosine_db(self.least)

    def db(self, trial: Trial) -> float:
        """Return the SQNR in dB to compare with `least_db`."""
        return cosine_db(self.value(trial)) if self.measure == "cosine" else trial.worst_db

    def words(self, value: float) -> str:
        """Return a value of the measure as text."""
        if self.measure == "sqnr":
            return f"{value:.2f} dB"
        if self.measure == "agreement":
            return f"{value:.2%} top-1 agreement"
        return f"cosine {value:.5f}" if self.measure == "cosine" else f"metric {value:.6g}"


def cosine_db(cosine: float) -> float:
    """Return the SQNR at which uncorrelated noise lowers the cosine to a value: cos² = S / (S + N)."""
    if cosine >= 1.0:
        return MOST_DB
    ratio = 1.0 / max(cosine, 1e-9) ** 2 - 1.0
    return min(MOST_DB, -10.0 * math.log10(max(ratio, 1e-20)))
