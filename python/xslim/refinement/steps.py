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
from xslim.progress import timed, tracked
from xslim.refinement import (
    equalization,
    factor_choice,
    float_tensors,
    full_ranges,
    observed_bounds,
    range_search,
    room,
    rounding,
    sequential_bias,
)
from xslim.refinement.candidate import (
    Candidate,
    Material,
    Measure,
    Scores,
    judge_activations,
    judge_outputs,
)
from xslim.refinement.effort import (
    CHOICE_GAIN_DB,
    CHOSEN,
    COMPUTED,
    EFFORT,
    FEW_JUDGES,
    FEW_JUDGES_GAIN_DB,
    FITTED,
    FORMULA_GAIN_DB,
    LARGEST_LOSS_DB,
    LEVELS,
)
from xslim.refinement.judge import METRIC
from xslim.refinement.outcome import Outcome
from xslim.runtime import give_back
from xslim.texts import spoken
from xslim.texts.columns import table

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
    certainty : float
        Number of standard deviations that the gain must exceed as well. A step that chooses the best of
        several alternatives needs two, because the best of several scores is better by chance alone. If
        negative, the gain may fall short of the least gain by this number of standard deviations.
    measure : callable of Candidate and Material to Outcome
        The function that judges a candidate.
    stage : Stage
        The stage in which the step runs.
    after : str or None
        Name of another step of the same stage; this step runs only if the other one was kept.
    spares_reserve : bool
        Whether the step is fitted to no sample of `Material.reserve`. Only then, a gain in doubt is judged on
        the reserve.
    without_judge : bool
        Whether the step runs, and is kept, if there is only one sample and therefore none to judge.
    """

    name: str
    levels: tuple[int, ...]
    run: Callable[[Candidate, Material], Candidate]
    least_gain_db: float | None = CHOICE_GAIN_DB
    certainty: float = CHOSEN
    measure: Measure = judge_outputs
    stage: Stage = Stage.AFTER_CALIBRATION
    after: str | None = None
    spares_reserve: bool = False
    without_judge: bool = False


ALL = LEVELS
TWO, THREE = EFFORT[2].scales, EFFORT[3].scales
RANGES = "reconstruction of ranges"

STEPS: tuple[Step, ...] = (
    Step("equalisation", ALL, equalization.equalize_channels, stage=Stage.BEFORE_CALIBRATION),
    Step(
        "factors that pay",
        ALL,
        factor_choice.keep_what_pays,
        LARGEST_LOSS_DB,
        certainty=COMPUTED,
        stage=Stage.BEFORE_CALIBRATION,
        after="equalisation",
    ),
    Step(
        "tensors listed as float",
        ALL,
        float_tensors.keep_listed,
        least_gain_db=None,
        stage=Stage.BEFORE_CALIBRATION,
        without_judge=True,
    ),
    Step("tensors left float", ALL, float_tensors.leave_float, stage=Stage.BEFORE_CALIBRATION),
    Step("wider ranges", ALL, room.widen, stage=Stage.BEFORE_CALIBRATION),
    Step("full ranges", ALL, full_ranges.clip_nothing, measure=judge_activations),
    Step("observed bounds", ALL, observed_bounds.use_observed, measure=judge_activations),
    Step("room for values not seen", ALL, room.leave_room, least_gain_db=None),
    Step("second-order rounding", ALL, rounding.round_weights, FORMULA_GAIN_DB, certainty=COMPUTED),
    Step(f"{len(TWO)} scales per channel", (2, 3), partial(rounding.round_weights, scales=TWO)),
    Step(f"{len(THREE)} scales per channel", (3,), partial(rounding.round_weights, scales=THREE)),
    Step(
        "bias correction",
        ALL,
        rounding.correct_means,
        FORMULA_GAIN_DB,
        certainty=COMPUTED,
        without_judge=True,
    ),
    Step("biases in sequence", ALL, sequential_bias.follow, certainty=FITTED, spares_reserve=True),
    Step(RANGES, (2, 3), range_search.reconstruct),
    Step(
        "biases in sequence",
        (2, 3),
        sequential_bias.follow,
        certainty=FITTED,
        after=RANGES,
        spares_reserve=True,
    ),
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
    known: dict[Measure, Outcome] = {}
    kept: set[str] = set()
    chosen = [
        step
        for step in (STEPS if steps is None else steps)
        if step.stage is stage and material.effort.level in step.levels
    ]
    for step in tracked(chosen, f"refining {stage.value}", len(chosen)):
        if step.after is not None and step.after not in kept:
            continue
        judged = len(candidate.gains)
        with timed(step.name):
            candidate = _take(step, candidate, material, known)
        kept.update(step.name for gain in candidate.gains[judged:] if gain.kept)
        give_back()
    return candidate


def _take(step: Step, start: Candidate, material: Material, known: dict[Measure, Outcome]) -> Candidate:
    """Run one step and keep its result if it gains; `known` caches the outcomes of the current candidate."""
    judged = material.judge.can_judge
    if not judged and not step.without_judge:
        return start
    found = step.run(start, material)
    if found is start:
        return start
    if not judged or step.least_gain_db is None:
        known.clear()
        return replace(found, measured=None)
    own = found.measured
    if own is None:
        if step.measure not in known:
            known[step.measure] = step.measure(start, material)
        own = Scores(known[step.measure], step.measure(found, material), "")
    gain = _gain(step, own)
    if step.spares_reserve and _is_in_doubt(gain) and material.reserve is not None:
        others = replace(material, judge=material.reserve)
        gain = _gain(step, Scores(step.measure(start, others), step.measure(found, others), ""))
    if gain.kept:
        known.clear()
        if found.measured is None:
            known[step.measure] = own.after
    return replace(found if gain.kept else start, gains=(*start.gains, gain), measured=None)


def _gain(step: Step, scores: Scores) -> StepGain:
    gain = scores.before.gain_of(scores.after)
    least = step.least_gain_db or 0.0
    if len(scores.before.signal) >= FEW_JUDGES:
        wanted = step.certainty * gain.deviation
        least = max(least, wanted) if wanted > 0 else least + wanted
    elif step.certainty > 0:
        least = max(least, FEW_JUDGES_GAIN_DB)
    name = f"{step.name} ({scores.detail})" if scores.detail else step.name
    before, after = scores.before.score, scores.after.score
    return StepGain(name, METRIC, before, after, gain.db >= least, gain.db, gain.deviation)


def _is_in_doubt(gain: StepGain) -> bool:
    """Whether a gain is large, but too uncertain to be kept."""
    return not gain.kept and gain.gain >= CHOICE_GAIN_DB


def log_gains(gains: Sequence[StepGain]) -> None:
    """Log the gain of every step as one table."""
    if not gains:
        return
    rows = [(spoken("step"), spoken("before"), spoken("after"), spoken("gain"), "")]
    for item in gains:
        gain = f"{item.gain:.2f} ± {item.deviation:.2f}"
        undone = "" if item.kept else spoken("undone")
        rows.append((item.words(spoken), f"{item.before:.2f}", f"{item.after:.2f}", gain, undone))
    lines = table(rows, "<>>><")
    logger.info("%s on samples held back from the fit:\n%s", METRIC, "\n".join(lines))
