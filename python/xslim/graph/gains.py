"""What the steps of a run gained: the record that a refinement leaves for the report."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StepGain:
    """The effect of one step on a measure of the whole model or of a part of it.

    Attributes
    ----------
    step : str
        What was done, in a few words, such as ``"equalisation"`` or ``"rounding of /conv1"``.
    metric : str
        What was measured, with its unit, such as ``"output SQNR (dB)"``.
    before, after : float
        The measure on samples held back from the fit, without and with the step.
    kept : bool
        Whether the change is part of the result.
    """

    step: str
    metric: str
    before: float
    after: float
    kept: bool
