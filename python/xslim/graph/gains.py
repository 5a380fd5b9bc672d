"""The record of what each step of a refinement gained; the report shows it."""

from __future__ import annotations

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
        Mean gain in dB over the samples, which decides. A single sample with much noise moves it less than
        the difference of `before` and `after`.
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
