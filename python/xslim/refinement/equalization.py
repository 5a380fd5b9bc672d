"""Equalise channels before calibration; the strength is judged on samples that did not determine the ranges.

Factors are inserted at first only where a float operator feeds an int8 layer. If int8 activations alone still
lose much, factors are tried around every function and elementwise operator that pins the channels of an int8
tensor. They cost two cheap products per function, so they must gain more, and a few output values do not
prove such a gain: on a classifier of two classes, 50 factors were chosen and lost 3 dB on unseen photographs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from xslim.graph.factors import products
from xslim.quantization.balancing import insert_factors, remove_unused_factors
from xslim.quantization.equalization import Vector, equalize
from xslim.refinement.activation_trials import Magnitudes, Rival, Trial
from xslim.refinement.candidate import Candidate, Material, Scores
from xslim.refinement.effort import (
    CAREFUL_STRENGTHS,
    CHOICE_GAIN_DB,
    ENOUGH_DB,
    FACTOR_GAIN_DB,
    MARGINS,
    STRENGTHS,
)
from xslim.refinement.outcome import Outcome
from xslim.runtime import free_copies


@dataclass(frozen=True)
class Equalised:
    """A model that was equalised for every fold, with the scales that the other samples determine.

    Attributes
    ----------
    extended : onnx_ir.Model
        The model before, with inserted factors.
    folds : tuple of Trial
        The trial of every fold.
    whole : Mapping of str to float64 array
        The magnitudes that determine the scales of the result.
    """

    extended: ir.Model
    folds: tuple[Trial, ...]
    whole: Mapping[str, Vector]

    def result(self, material: Material) -> Trial:
        """Return the trial with the scales of the result."""
        first = self.folds[0]
        if len(self.folds) == 1:
            return first
        made = equalized_trial(self.extended, first.strength, self.whole, material)
        return replace(made, margin=first.margin)


@dataclass(frozen=True)
class _Found:
    """An equalised model and its outcome."""

    equalised: Equalised
    outcome: Outcome

    def rank(self, before: Outcome) -> tuple[float, float, float]:
        """Sort by gain; if gains are equal, the larger strength and margin win."""
        trial = self.equalised.folds[0]
        return before.gain_of(self.outcome).db, trial.strength, trial.margin


def equalize_channels(start: Candidate, material: Material) -> Candidate:
    """Equalise channels with the strength that gives the best score of int8 activations with full ranges.

    If there are few samples, factors that widen the ranges (margins) are tried as well. The returned
    candidate holds the scores on the folds, and the best margin, by which `room.leave_room` widens ranges
    after calibration.
    """
    before = material.trials.judge(start.trial)
    extended = insert_factors(start.model, start.plan)
    best, everywhere = _best_strength(extended, None, Rival(before, CHOICE_GAIN_DB), material), False
    enough = max(before.worst, best.outcome.worst if best else before.worst) >= ENOUGH_DB
    wide = insert_factors(start.model, start.plan, everywhere=True)
    if material.trials.are_fair and not enough and products(wide) != products(extended):
        gained = before.gain_of(best.outcome).db if best else 0.0
        needed = max(gained, 0.0) + FACTOR_GAIN_DB
        further = _best_strength(wide, best, Rival(before, needed), material)
        if further and before.gain_of(further.outcome).db >= needed:
            best, everywhere = further, True
    if best is None:
        return start
    best = _with_margin(best, before, material)
    trial = best.equalised.result(material)
    return replace(
        start,
        model=trial.model,
        plan=trial.plan,
        scales=trial.scales,
        strength=trial.strength,
        equalised=best.outcome,
        everywhere=everywhere,
        margin=trial.margin,
        measured=Scores(before, best.outcome, f"strength {trial.strength:g}"),
    )


def _best_strength(
    extended: ir.Model, best: _Found | None, rival: Rival, material: Material
) -> _Found | None:
    """Return the best strength for a model with inserted factors, or the best one so far if it is better.

    The result is None if no channel can be scaled.
    """
    magnitudes = material.magnitudes(extended)
    if not magnitudes.whole:
        return best

    def equalised(strength: float) -> Equalised:
        return equalised_in_folds(extended, strength, magnitudes, material)

    return _best(equalised, _strengths(rival.outcome, material), best, rival, material)


def _strengths(before: Outcome, material: Material) -> tuple[float, ...]:
    """Return the strengths to try; few samples do not justify a risk where little is lost anyway."""
    if material.trials.are_many:
        return STRENGTHS
    return CAREFUL_STRENGTHS if before.worst < ENOUGH_DB else CAREFUL_STRENGTHS[-1:]


def _with_margin(found: _Found, before: Outcome, material: Material) -> _Found:
    """Return the best margin for an equalised model; without one if there are many samples or no gain."""
    if material.trials.are_many or before.gain_of(found.outcome).db < CHOICE_GAIN_DB:
        return found

    def widened(margin: float) -> Equalised:
        folds = tuple(replace(trial, margin=margin) for trial in found.equalised.folds)
        return replace(found.equalised, folds=folds)

    best = found
    for margin in MARGINS:
        previous, best = best, _better(widened(margin), best, Rival(before, 0.0), material) or best
        if best is previous:
            # A wider range only costs more resolution.
            break
    return best


def _best(
    make: Callable[[float], Equalised],
    values: Iterable[float],
    best: _Found | None,
    rival: Rival,
    material: Material,
) -> _Found | None:
    """Return the best of the best one so far and of the models that are made of several values."""
    for value in values:
        best = _better(make(value), best, rival, material)
        # Each trial may hold a copy of all weights.
        free_copies(material.reference)
    return best


def _better(equalised: Equalised, best: _Found | None, rival: Rival, material: Material) -> _Found | None:
    outcome = material.trials.judge_against(equalised.folds, best.outcome if best else None, rival)
    if outcome is None:
        return best
    found = _Found(equalised, outcome)
    return found if best is None or found.rank(rival.outcome) > best.rank(rival.outcome) else best


def equalised_in_folds(
    extended: ir.Model, strength: float, magnitudes: Magnitudes, material: Material, margin: float = 1.0
) -> Equalised:
    """Equalise a model with inserted factors for every fold."""
    trials = (equalized_trial(extended, strength, ranges, material) for ranges in magnitudes.folds)
    folds = tuple(replace(trial, margin=margin) for trial in trials)
    return Equalised(extended, folds, magnitudes.whole)


def equalized_trial(
    extended: ir.Model, strength: float, ranges: Mapping[str, Vector], material: Material
) -> Trial:
    """Equalise a model with inserted factors, remove the factors that stay 1, and plan the result.

    `ranges` holds the largest magnitude per channel, see `equalize`.
    """
    equalized, scales = equalize(extended, ranges, strength)
    model = remove_unused_factors(equalized)
    return Trial(model, material.planner(model, {}), scales, strength)
