"""Widen the ranges if there are few samples: other inputs hold values that the samples do not.

A range that is wider than the samples costs resolution, and one that is too narrow clips. Which of them costs
more depends on the model and on the data, so the widening is judged on samples that did not determine the
ranges.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from xslim.refinement.activation_trials import Rival
from xslim.refinement.candidate import Candidate, Material, Scores
from xslim.refinement.effort import CHOICE_GAIN_DB, MARGINS


def widen(start: Candidate, material: Material) -> Candidate:
    """Widen all ranges by the factor that gives the best score of int8 activations, if samples are few."""
    if material.trials.are_many:
        return start
    before = material.trials.judge(start.trial)
    rival, best = Rival(before, CHOICE_GAIN_DB), start
    for room in MARGINS:
        known = best.measured.after if best.measured else before
        after = material.trials.judge_against([replace(start.trial, room=room)], known, rival)
        if after is None or before.gain_of(after).db <= before.gain_of(known).db:
            # A still wider range only costs more resolution.
            break
        best = replace(start, room=room, measured=Scores(before, after, f"by {room:g}"))
    return best


def leave_room(start: Candidate, material: Material) -> Candidate:
    """Widen the calibrated ranges by the factors that were judged before calibration."""
    del material
    widened, trial = {}, start.trial
    for group in start.plan.groups:
        factor = trial.widening(group)
        if factor != 1.0:
            old = start.quantization.activations[group.name]
            params = replace(old, scale=np.asarray(old.scale * factor, np.float32))
            widened.update(dict.fromkeys(group.tensors, params))
    return start.with_activations(widened) if widened else start
