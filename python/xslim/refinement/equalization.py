"""Equalise channels before calibration; the strength is judged on samples that did not determine the ranges.

A channel that is small on the observed samples may be large on a later one. The more the channel was
enlarged, the more of its values are then clipped. A strength must therefore be judged on other samples than
those that determined the ranges. If there are few samples, each half of them judges the ranges of the other
half, and wider ranges are tried as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from xslim.calibration.collectors import Arrays
from xslim.calibration.grams import ChannelRanges
from xslim.calibration.runner import stream
from xslim.graph.scheme import Quantization, QuantParams, TensorGroup
from xslim.quantization.balancing import insert_factors, remove_unused_factors
from xslim.quantization.equalization import Vector, channels_to_observe, equalize
from xslim.quantization.parameters import params_of_range
from xslim.refinement.candidate import Candidate, Material, Room, Scores
from xslim.refinement.effort import CAREFUL_STRENGTHS, FOLDS, MANY_RUNS, MARGINS, RANGE_RUNS, STRENGTHS
from xslim.refinement.judge import Judge, Split
from xslim.runtime import thread_count


@dataclass(frozen=True)
class _Fold:
    """The samples of one fold, which judge, and the channel ranges of all other samples."""

    judge: Judge
    ranges: ChannelRanges


@dataclass(frozen=True, order=True)
class _Trial:
    """A strength and a margin with their score; if scores are equal, the larger one wins."""

    score: float
    strength: float
    margin: float = 1.0


def equalize_channels(start: Candidate, material: Material) -> Candidate:
    """Equalise channels with the strength that gives the best score of int8 activations with full ranges.

    If there are few samples, factors that widen the ranges (margins) are tried as well. The returned
    candidate holds the scores on the folds, and the best margin, by which `leave_room` widens ranges after
    calibration.
    """
    extended = insert_factors(start.model, start.plan)
    extended_plan = material.planner(extended)
    axes = channels_to_observe(extended, extended_plan)
    if not axes:
        return start
    many = material.data.runs >= MANY_RUNS
    ranges = _observe({**dict.fromkeys(extended_plan.observed), **axes}, extended, material, many=many)
    folds = _folds(start.model, material, ranges, many=many)

    def trial(strength: float, margin: float = 1.0) -> _Trial:
        scores = [_score(extended, fold, strength, margin, material) for fold in folds]
        return _Trial(sum(scores) / len(scores), strength, margin)

    before = trial(0.0).score
    best = max(map(trial, STRENGTHS if many else CAREFUL_STRENGTHS))
    if not many:
        best = max(best, *(trial(best.strength, margin) for margin in MARGINS))
    equalized, factors = equalize(extended, ranges.without(None).largest(), best.strength)
    model = remove_unused_factors(equalized)
    return replace(
        start,
        model=model,
        plan=material.planner(model),
        room=Room(best.margin, _changed(factors)),
        measured=Scores(before, best.score, f"strength {best.strength:g}"),
    )


def leave_room(start: Candidate, material: Material) -> Candidate:
    """Widen the ranges of equalised tensors by the margin that the equalisation was judged with."""
    del material
    if start.room.factor == 1.0:
        return start
    activations = dict(start.quantization.activations)
    for group in start.plan.groups:
        if has_room(group, start.room.tensors):
            old = activations[group.name]
            params = replace(old, scale=np.asarray(old.scale * start.room.factor, np.float32))
            activations.update(dict.fromkeys(group.tensors, params))
    return replace(start, quantization=replace(start.quantization, activations=activations))


def _observe(
    axes: Mapping[str, int | None], extended: ir.Model, material: Material, *, many: bool
) -> _FoldedRanges:
    """Run the model on the samples, or on every n-th one if there are many, and collect channel ranges."""
    data, settings = material.data, material.settings
    step = max(2, data.runs // RANGE_RUNS) if many else 1
    ranges = _FoldedRanges(axes, (material.judge.split.stride or 1) if many else FOLDS, step)
    samples = data.samples(settings.batch_size, thread_count(), (0, step))
    stream(extended, [ranges], samples, device=settings.device)
    return ranges


def _folds(prepared: ir.Model, material: Material, ranges: _FoldedRanges, *, many: bool) -> list[_Fold]:
    """Return the folds: the samples held back alone, or two halves if there are few samples."""
    if many:
        return [_Fold(material.judge, ranges.without(ranges.count - 1))]
    judges = (
        Judge(prepared, material.data, material.settings, Split(FOLDS, index)) for index in range(FOLDS)
    )
    return [_Fold(judge, ranges.without(index)) for index, judge in enumerate(judges)]


def _score(extended: ir.Model, fold: _Fold, strength: float, margin: float, material: Material) -> float:
    """Score the model with int8 activations only, whose ranges are those of the other folds."""
    equalized, factors = equalize(extended, fold.ranges.largest(), strength)
    plan, changed = material.planner(equalized), _changed(factors)
    found: dict[str, QuantParams] = {}
    for group in plan.groups:
        if group.fixed_range is None and all(name in fold.ranges.low for name in group.observed):
            extremes = [_extremes(name, fold.ranges, factors) for name in group.observed]
            low, high = min(low for low, _ in extremes), max(high for _, high in extremes)
            room = margin if has_room(group, changed) else 1.0
            found.update(dict.fromkeys(group.tensors, params_of_range(low * room, high * room)))
    return fold.judge.score(material.export(Candidate(equalized, plan, Quantization(found, {}))))


def has_room(group: TensorGroup, changed: frozenset[str]) -> bool:
    """Whether the range of a group is widened: the group was equalised and has no known bound."""
    bounded = group.fixed_range is not None or (group.clamp is not None and math.isfinite(group.clamp[1]))
    return not bounded and not changed.isdisjoint(group.tensors)


def _changed(factors: Mapping[str, Vector]) -> frozenset[str]:
    return frozenset(name for name, scale in factors.items() if (scale != 1.0).any())


def _extremes(name: str, ranges: ChannelRanges, factors: Mapping[str, Vector]) -> tuple[float, float]:
    low, high = ranges.low[name], ranges.high[name]
    scale = factors.get(name)
    if scale is None or len(scale) != len(low):
        return float(low.min()), float(high.max())
    return float((low / scale).min()), float((high / scale).max())


class _FoldedRanges:
    """Collects ranges per channel for every fold of the samples.

    Sample number ``n`` belongs to fold ``n % count``. The collector gets every `step`-th sample only.
    """

    def __init__(self, axes: Mapping[str, int | None], count: int, step: int) -> None:
        self._parts = [ChannelRanges(axes) for _ in range(count)]
        self._step = step
        self._seen = 0

    @property
    def count(self) -> int:
        """Number of folds."""
        return len(self._parts)

    @property
    def tensors(self) -> Sequence[str]:
        """The observed tensors."""
        return self._parts[0].tensors

    def update(self, arrays: Arrays) -> None:
        """Add the ranges of one sample to those of its fold."""
        self._parts[self._seen * self._step % len(self._parts)].update(arrays)
        self._seen += 1

    def without(self, fold: int | None) -> ChannelRanges:
        """Return the ranges of all folds except one; if there is only one fold, it is included."""
        return ChannelRanges.merged(
            [part for index, part in enumerate(self._parts) if index != fold or len(self._parts) == 1]
        )
