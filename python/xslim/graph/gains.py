"""The record of what each step of a refinement gained; the report shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class StepGain:
    """The effect of one step on a measure of the whole model or of a part of it.

    Attributes
    ----------
    step : str
        Name of the step, such as ``"equalisation"`` or ``"rounding of /conv1"``.
    metric : str
        Name of the measure with its unit, such as ``"output SQNR (dB)"``.
    before, after : float
        The measure without and with the step, on samples that the step was not fitted to.
    kept : bool
        Whether the change is part of the result.
    gain : float
        The gain in dB that decides: the lesser of the difference of `before` and `after` and of the mean gain
        over the samples, which a single sample with much noise moves less.
    deviation : float
        Standard deviation of `gain`, estimated by bootstrap over the samples; 0 for a single sample.
    """

    step: str
    metric: str
    before: float
    after: float
    kept: bool
    gain: float = 0.0
    deviation: float = 0.0

    def words(self, say: Callable[[str], str]) -> str:
        """Return the name of the step, every part of which another language says by itself."""
        name, bracket, detail = self.step.partition(" (")
        return f"{say(name)}{bracket}{say(detail.removesuffix(')'))}{')' if bracket else ''}"
