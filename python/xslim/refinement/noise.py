"""How much noise each int8 activation alone adds to the outputs of a model.

Everything but one quantiser stays float in a run, so the error of the outputs is the noise of that quantiser.
Noise of different quantisers adds: the sum over all predicts the error of the whole within about a decibel.
The quantisers are measured in segments of the graph first, and only segments with much noise are divided.

Source: the one-on sensitivity of Nagel et al., "A White Paper on Neural Network Quantization", 2021
(arXiv:2106.08295), section 3.8.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from xslim.graph.cost import model_cost
from xslim.graph.scheme import TensorGroup
from xslim.progress import report
from xslim.refinement.activation_trials import Trial
from xslim.refinement.candidate import Material
from xslim.refinement.effort import (
    HEAVY_RANKING,
    RANKING_MACS,
    RANKING_RUNS,
    RANKING_SAMPLES,
    SEGMENTS,
    SIGNIFICANT_NOISE,
    SMALLEST_RANKING,
    SMALLEST_RANKING_RUNS,
)
from xslim.refinement.judge import Judge, Split
from xslim.refinement.remainders import Changed, Remainder, Remainders

MEASURING = "measuring the noise of int8 activations"

Noise = NDArray[np.float64]
"""Noise power over signal power, for every output."""


Item = TypeVar("Item")
Part = tuple[Item, ...]


def rank_noise(trial: Trial, material: Material) -> dict[str, Noise]:
    """Measure the noise of the int8 activations of a trial.

    Parameters
    ----------
    trial : Trial
        The model and its plan.
    material : Material
        The samples and the ranges of activations.

    Returns
    -------
    dict of str to float64 array, shape (outputs,)
        Noise over signal of every group of the plan, by the name of the group. The groups of a segment that
        was not divided share its noise equally.
    """
    runs = RANKING_MACS // max(1, model_cost(trial.model).macs)
    judge = _ranking_judge(material, runs)
    budget = min(RANKING_RUNS, max(SMALLEST_RANKING_RUNS, runs)) // max(len(judge.feeds), SMALLEST_RANKING)
    remainders = Remainders(trial.model, judge.feeds)

    def changed(part: Part[TensorGroup]) -> Changed:
        model, parameters = material.trials.alone(trial, part)
        return Changed(model, judge.show(model), parameters)

    def noise(remainder: Remainder) -> Noise:
        return judge.judge_fed(remainder.session, remainder.feeds).noise_ratios

    def noises(parts: Iterable[Part[TensorGroup]]) -> Iterator[Noise]:
        return remainders.map(noise, map(changed, parts))

    found = attribute_noise(trial.plan.groups, noises, budget)
    return {group.name: noise for group, noise in found}


def attribute_noise(
    items: Sequence[Item], noises: Callable[[Sequence[Part[Item]]], Iterable[Noise]], budget: int
) -> list[tuple[Item, Noise]]:
    """Measure the noise of segments of quantisers, and divide those with much noise.

    Parameters
    ----------
    items : sequence
        The quantisers, in graph order.
    noises : callable
        Returns the noise of each of several parts, where the quantisers of one part alone are int8.
    budget : int
        About how many parts may be measured.

    Returns
    -------
    list of (item, noise)
        In graph order. The items of a segment that was not divided share its noise equally.
    """

    def measure(parts: Sequence[Part[Item]]) -> list[_Segment[Item]]:
        return [_Segment(part, noise) for part, noise in zip(parts, noises(parts), strict=True)]

    segments = measure(_divide(items, SEGMENTS))
    total_budget, budget = budget, budget - len(segments)
    while budget > 0:
        total = sum(segment.total for segment in segments)
        large = [s for s in segments if len(s.items) > 1 and s.total > SIGNIFICANT_NOISE * total]
        large.sort(key=lambda segment: -segment.total)
        large = large[: max(1, budget // 2)]
        if not large:
            break
        kept = [segment for segment in segments if segment not in large]
        parts = [part for segment in large for part in _divide(segment.items, 2)]
        segments = [*kept, *measure(parts)]
        budget -= len(parts)
        report(MEASURING, total_budget - max(budget, 0), total_budget)
    shares = {id(item): segment.noise / len(segment.items) for segment in segments for item in segment.items}
    return [(item, shares[id(item)]) for item in items]


@dataclass(frozen=True, eq=False)
class _Segment(Generic[Item]):
    items: Part[Item]
    noise: Noise

    @property
    def total(self) -> float:
        return float(self.noise.mean())


def _divide(items: Sequence[Item], count: int) -> list[Part[Item]]:
    """Divide items into at most `count` segments of nearly equal length, in graph order."""
    count = min(count, len(items))
    bounds = [index * len(items) // count for index in range(count + 1)] if count else []
    return [tuple(items[start:end]) for start, end in pairwise(bounds)]


def _ranking_judge(material: Material, runs: int) -> Judge:
    """Return a judge on a few samples, spread evenly; `runs` of the model are affordable."""
    data = material.data
    inputs = sum(array.size for array in material.judge.feeds[0].values()) if material.judge.feeds else 1
    wanted = min(RANKING_SAMPLES, max(SMALLEST_RANKING, material.effort.judging_inputs // max(inputs, 1)))
    if runs < RANKING_RUNS:
        wanted = HEAVY_RANKING
    stride = max(1, data.runs // wanted)
    held_back = material.judge.split
    offsets = (offset for offset in range(stride) if not held_back.holds_back(offset))
    split = Split(stride, (next(offsets, 0),))
    return Judge(material.reference, data, material.settings, split, material.judge)


def predicted_db(noises: Mapping[str, Noise]) -> float:
    """Return the score in dB that the sum of noises predicts, averaged over the outputs."""
    total = sum(noises.values(), np.zeros(1))
    return float(np.mean(-10.0 * np.log10(np.maximum(total, 1e-20))))
