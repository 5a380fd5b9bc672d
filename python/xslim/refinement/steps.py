"""The steps of refinement in order, and the loop that keeps a step only if it improves the score.

A step consists of a function and data. The function takes a candidate and returns a changed one. The data
state the levels at which the step runs and the gain that it must reach. Steps pass information on only in the
candidate.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial

from xslim.graph.gains import StepGain
from xslim.refinement import (
    equalization,
    full_ranges,
    range_search,
    rounding,
    sequential_bias,
)
from xslim.refinement.candidate import (
    Candidate,
    Material,
    Measure,
    score_of_activations,
    score_of_outputs,
)
from xslim.refinement.effort import CHOICE_GAIN_DB, EFFORT, FORMULA_GAIN_DB, LEVELS
from xslim.refinement.judge import METRIC

logger = logging.getLogger(__name__)


class Stage(Enum):
    """When a step runs."""

    BEFORE_CALIBRATION = "before calibration"
    AFTER_CALIBRATION = "after calibration"


@dataclass(frozen=True)
class Step:
    """One step of refinement.

    Attributes
    ----------
    name : str
        Name of the step in the table of gains.
    levels : tuple of int
        The finetune levels at which the step runs.
    run : callable of Candidate and Material to Candidate
        Returns the changed candidate, or the given candidate if there is nothing to change.
    least_gain_db : float or None
        The least gain in dB for which the change is kept; None if another step has judged the change already.
    measure : callable of Candidate and Material to float
        The function that scores a candidate.
    stage : Stage
        The stage in which the step runs.
    after : str or None
        Name of another step; this step runs only if the other one was kept.
    without_judge : bool
        Whether the step runs, and is kept, if there is only one sample and therefore none to judge.
    """

    name: str
    levels: tuple[int, ...]
    run: Callable[[Candidate, Material], Candidate]
    least_gain_db: float | None = CHOICE_GAIN_DB
    measure: Measure = score_of_outputs
    stage: Stage = Stage.AFTER_CALIBRATION
    after: str | None = None
    without_judge: bool = False


ALL = LEVELS
TWO, THREE = EFFORT[2].scales, EFFORT[3].scales
RANGES = "reconstruction of ranges"

STEPS: tuple[Step, ...] = (
    Step(
        "equalisation", ALL, equalization.equalize_channels, FORMULA_GAIN_DB, stage=Stage.BEFORE_CALIBRATION
    ),
    Step("full ranges", ALL, full_ranges.clip_nothing, measure=score_of_activations),
    Step("room for values not seen", ALL, equalization.leave_room, least_gain_db=None),
    Step("second-order rounding", ALL, rounding.round_weights, FORMULA_GAIN_DB),
    Step(f"{len(TWO)} scales per channel", (2, 3), partial(rounding.round_weights, scales=TWO)),
    Step(f"{len(THREE)} scales per channel", (3,), partial(rounding.round_weights, scales=THREE)),
    Step("bias correction", ALL, rounding.correct_means, FORMULA_GAIN_DB, without_judge=True),
    Step("biases in sequence", ALL, sequential_bias.follow),
    Step(RANGES, (2, 3), range_search.reconstruct),
    Step("biases in sequence", (2, 3), sequential_bias.follow, after=RANGES),
)
"""All steps in order. A new step needs a file with its function, and an entry here."""


def refine(
    start: Candidate, material: Material, stage: Stage, steps: Sequence[Step] | None = None
) -> Candidate:
    """Run the steps of a stage in order and keep those that gain.

    Parameters
    ----------
    start : Candidate
        The candidate before the steps.
    material : Material
        The data that the steps use.
    stage : Stage
        The stage whose steps run.
    steps : sequence of Step, optional
        The steps; by default `STEPS`.

    Returns
    -------
    Candidate
        The candidate with all changes that were kept, and with the gains of all judged steps.
    """
    candidate = start
    scores: dict[Measure, float] = {}
    for step in STEPS if steps is None else steps:
        if step.stage is not stage or material.effort.level not in step.levels:
            continue
        if step.after is None or candidate.has_kept(step.after):
            candidate = _take(step, candidate, material, scores)
    return candidate


def _take(step: Step, start: Candidate, material: Material, scores: dict[Measure, float]) -> Candidate:
    """Run one step and keep its result if the score gains; `scores` caches those of the current candidate."""
    judged = material.judge.can_judge
    if not judged and not step.without_judge:
        return start
    found = step.run(start, material)
    if found is start:
        return start
    if not judged or step.least_gain_db is None:
        scores.clear()
        return replace(found, measured=None)
    gain = _judge(step, start, found, material, scores)
    if gain.kept:
        scores.clear()
        if found.measured is None:
            scores[step.measure] = gain.after
    return replace(found if gain.kept else start, gains=(*start.gains, gain), measured=None)


def _judge(
    step: Step, start: Candidate, found: Candidate, material: Material, scores: dict[Measure, float]
) -> StepGain:
    name, own = step.name, found.measured
    if own is not None:
        name, before, after = f"{name} ({own.detail})", own.before, own.after
    else:
        if step.measure not in scores:
            scores[step.measure] = step.measure(start, material)
        before, after = scores[step.measure], step.measure(found, material)
    kept = after >= before + (step.least_gain_db or 0.0)
    return StepGain(name, METRIC, before, after, kept)


def log_gains(gains: Sequence[StepGain]) -> None:
    """Log the gain of every step as one table."""
    if not gains:
        return
    width = max(len("step"), *(len(gain.step) for gain in gains))
    lines = [f"{'step':<{width}}   before    after"]
    for gain in gains:
        undone = "" if gain.kept else "   undone"
        lines.append(f"{gain.step:<{width}}  {gain.before:7.2f}  {gain.after:7.2f}{undone}")
    logger.info("%s on samples held back from the fit:\n%s", METRIC, "\n".join(lines))
