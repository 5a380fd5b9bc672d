"""How far channels are equalised, judged on samples that had no part in the ranges.

A channel that was quiet on the samples seen may be loud on the next one. The more it was enlarged, the more
it is clipped then, so the ranges that judge a strength must not know the samples that judge it. With few
samples each half of them judges the ranges of the other, and room beyond the ranges is tried as well. Halves,
because more and smaller folds hardly ever show a channel that all others have not: with 12 photographs, four
folds rated strength 0.5 best by 1 dB, halves rated 0.25 best by 1 dB, as unseen photographs did.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from xslim.calibration.collectors import Arrays
from xslim.calibration.data import CalibrationData
from xslim.calibration.grams import ChannelRanges
from xslim.calibration.observe import Settings
from xslim.calibration.runner import stream
from xslim.export.qdq import export_qdq
from xslim.graph.scheme import Quantization, QuantParams, QuantPlan, TensorGroup
from xslim.quantization.balancing import insert_factors, remove_unused_factors
from xslim.quantization.equalization import Vector, channels_to_observe, equalize
from xslim.quantization.parameters import params_of_range
from xslim.refinement.judge import HeldBack, Split
from xslim.runtime import thread_count
from xslim.targets import Target

MANY_RUNS, RANGE_RUNS = 64, 50
"""From so many on, one fold judges and so many, at most every second one, give the ranges of channels."""
FOLDS = 2
STRENGTHS = (1.0, 0.5)
"""More of them are no better: what int8 activations gain by 0.75, rounding the weights can lose."""
CAREFUL_STRENGTHS = (1.0, 0.5, 0.25)
MARGINS = (1.15, 1.4)
"""Factors of the ranges of equalised tensors that are tried where samples are few."""

Planner = Callable[[ir.Model], QuantPlan]


@dataclass(frozen=True)
class Equalized:
    """The best equalisation of a model and what it is worth.

    Attributes
    ----------
    model : onnx_ir.Model
        Computes the same as the prepared model.
    plan : QuantPlan
        Its plan.
    strength : float
        0 changes nothing, 1 makes all ranges equal.
    margin : float
        By what the ranges of `tensors` are to be multiplied.
    tensors : frozenset of str
        Tensors whose channels were changed.
    before, after : float
        Output SQNR in dB with int8 activations alone, without and with it.
    """

    model: ir.Model
    plan: QuantPlan
    strength: float
    margin: float
    tensors: frozenset[str]
    before: float
    after: float


@dataclass(frozen=True)
class _Fold:
    """Samples that judge, and the ranges of the others."""

    held_back: HeldBack
    ranges: ChannelRanges


def search_equalization(
    prepared: ir.Model,
    plan: QuantPlan,
    data: CalibrationData,
    settings: Settings,
    planner: Planner,
    target: Target,
    held_back: tuple[Split, HeldBack],
) -> Equalized | None:
    """Try strengths of equalisation and, with few samples, margins; None where there is nothing to equalise.

    Parameters
    ----------
    prepared : onnx_ir.Model
        The prepared float model.
    plan : QuantPlan
        Its plan.
    data, settings
        The samples, and how they are run.
    planner : callable
        Makes the plan of a float model.
    target : Target
        The operator table.
    held_back : pair of Split and HeldBack
        The fold that judges alone where samples are many.
    """
    extended = insert_factors(prepared, plan)
    extended_plan = planner(extended)
    axes = channels_to_observe(extended, extended_plan)
    if not axes:
        return None
    chosen, judge = held_back
    many = data.runs >= MANY_RUNS
    count, step = (chosen.stride or 1, max(2, data.runs // RANGE_RUNS)) if many else (FOLDS, 1)
    ranges = _FoldedRanges({**dict.fromkeys(extended_plan.observed), **axes}, count, step)
    stream(
        extended,
        [ranges],
        data.samples(settings.batch_size, thread_count(), (0, step)),
        device=settings.device,
    )
    if many:
        folds = [_Fold(judge, ranges.without(count - 1))]
    else:
        folds = [
            _Fold(HeldBack(prepared, data, settings, Split(count, index)), ranges.without(index))
            for index in range(count)
        ]

    def loss(strength: float, margin: float = 1.0) -> float:
        found = (_loss(extended, fold, strength, margin, planner, target) for fold in folds)
        return sum(found) / len(folds)

    before = loss(0.0)
    strengths = STRENGTHS if many else CAREFUL_STRENGTHS
    after, strength = max((loss(strength), strength) for strength in strengths)
    margin = 1.0
    if not many:
        after, margin = max((after, margin), *((loss(strength, margin), margin) for margin in MARGINS))
    equalized, scales = equalize(extended, ranges.without(None).largest(), strength)
    model = remove_unused_factors(equalized)
    return Equalized(model, planner(model), strength, margin, _changed(scales), before, after)


def _loss(
    extended: ir.Model, fold: _Fold, strength: float, margin: float, planner: Planner, target: Target
) -> float:
    """Loss of the int8 activations alone, clipped nowhere but beyond what the other folds have seen."""
    equalized, scales = equalize(extended, fold.ranges.largest(), strength)
    plan, changed = planner(equalized), _changed(scales)
    found: dict[str, QuantParams] = {}
    for group in plan.groups:
        if group.fixed_range is None and all(name in fold.ranges.low for name in group.observed):
            extremes = [_extremes(name, fold.ranges, scales) for name in group.observed]
            low, high = min(low for low, _ in extremes), max(high for _, high in extremes)
            room = margin if has_room(group, changed) else 1.0
            found.update(dict.fromkeys(group.tensors, params_of_range(low * room, high * room)))
    exported = export_qdq(equalized, plan, Quantization(found, {}), target)
    return fold.held_back.sqnr(exported)


def has_room(group: TensorGroup, changed: frozenset[str]) -> bool:
    """Whether the range of a group is to be widened: it was equalised, and no bound is known."""
    bounded = group.fixed_range is not None or (group.clamp is not None and math.isfinite(group.clamp[1]))
    return not bounded and not changed.isdisjoint(group.tensors)


def _changed(scales: Mapping[str, Vector]) -> frozenset[str]:
    return frozenset(name for name, scale in scales.items() if (scale != 1.0).any())


def _extremes(name: str, ranges: ChannelRanges, scales: Mapping[str, Vector]) -> tuple[float, float]:
    low, high = ranges.low[name], ranges.high[name]
    scale = scales.get(name)
    if scale is None or len(scale) != len(low):
        return float(low.min()), float(high.max())
    return float((low / scale).min()), float((high / scale).max())


class _FoldedRanges:
    """Ranges per channel, for every fold of the samples.

    Sample number ``n`` belongs to fold ``n % count``; of the samples, every `step`-th one is shown.
    """

    def __init__(self, axes: Mapping[str, int | None], count: int, step: int) -> None:
        self._parts = [ChannelRanges(axes) for _ in range(count)]
        self._step = step
        self._seen = 0

    @property
    def tensors(self) -> Sequence[str]:
        """The observed tensors."""
        return self._parts[0].tensors

    def update(self, arrays: Arrays) -> None:
        """Take in one sample."""
        self._parts[self._seen * self._step % len(self._parts)].update(arrays)
        self._seen += 1

    def without(self, fold: int | None) -> ChannelRanges:
        """Ranges of all folds but one; the only fold is not left out."""
        return ChannelRanges.merged(
            [part for index, part in enumerate(self._parts) if index != fold or len(self._parts) == 1]
        )
