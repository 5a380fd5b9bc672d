"""Trials before calibration: candidates whose activations alone are int8, with ranges from a few samples.

A channel that is small on the observed samples may be large on a later one. A trial must therefore be scored
on other samples than those that determined its ranges and the scales of its channels. If there are few
samples, each half of them judges the ranges and scales of the other half.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from weakref import WeakKeyDictionary

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.calibration.data import CalibrationData
from xslim.calibration.grams import ChannelRanges
from xslim.calibration.observe import MANY_FOR_BLOCKS, Settings
from xslim.calibration.runner import stream
from xslim.export.adjustable import Adjustable
from xslim.graph.factors import products
from xslim.graph.scheme import QuantParams, QuantPlan, TensorGroup
from xslim.graph.spreads import LEFT_FLOAT, NOTHING_DONE, ChannelSpread
from xslim.quantization.equalization import Vector, channels_to_observe
from xslim.quantization.parameters import activation_params, params_of_range
from xslim.refinement.effort import (
    CHOSEN,
    FEW_JUDGES,
    FEWEST_PER_FOLD,
    FOLDS,
    FORMULA_GAIN_DB,
    JUDGED_PER_FOLD,
    LEAST_SPREAD,
    MANY_RUNS,
    MOST_SPREADS,
    RANGE_RUNS,
    Effort,
)
from xslim.refinement.folds import FoldedRanges, JudgedTensors
from xslim.refinement.judge import Judge, Split
from xslim.refinement.outcome import Outcome
from xslim.runtime import Feeds, Pool, Session, thread_count


@dataclass(frozen=True)
class Trial:
    """A model whose activations are to be int8.

    Attributes
    ----------
    model : onnx_ir.Model
        The float model, perhaps equalised.
    plan : QuantPlan
        The plan of the model.
    scales : mapping of str to float64 array
        The divisor of every channel of the equalised tensors.
    strength : float
        The strength of the equalisation.
    margin : float
        Factor by which the ranges of equalised tensors are widened.
    room : float
        Factor by which all ranges are widened at least.
    """

    model: ir.Model
    plan: QuantPlan
    scales: Mapping[str, Vector]
    strength: float = 0.0
    margin: float = 1.0
    room: float = 1.0

    def widening(self, group: TensorGroup) -> float:
        """Return the factor by which the range of a group is widened: 1 if it has a known bound."""
        if group.fixed_range is not None or (group.clamp is not None and math.isfinite(group.clamp[1])):
            return 1.0
        equalised = not self._scaled.isdisjoint(group.tensors)
        return max(self.room, self.margin if equalised else 1.0)

    @cached_property
    def _scaled(self) -> frozenset[str]:
        """The tensors of which a channel is scaled."""
        return frozenset(name for name, scale in self.scales.items() if (scale != 1.0).any())


@dataclass(frozen=True)
class Rival:
    """What a trial is compared with in the end, and the least gain in dB for which it is taken."""

    outcome: Outcome
    least_gain_db: float


@dataclass(frozen=True)
class Magnitudes:
    """The largest magnitude per channel of the tensors that equalisation may scale, by their names.

    Attributes
    ----------
    whole : mapping of str to float64 array
        Over all samples that are observed, from which the result takes its scales. If there are many samples,
        those held back are not among them, so that the result is the same as what was judged.
    folds : sequence of such mappings
        For every fold, over the samples that the fold does not judge.
    """

    whole: Mapping[str, Vector]
    folds: Sequence[Mapping[str, Vector]]


@dataclass(frozen=True)
class _Fold:
    """The samples of one fold, which judge, and the channel ranges of all other samples."""

    judge: Judge
    ranges: ChannelRanges


class ActivationTrials:
    """Scores trials on samples that did not determine their ranges.

    Parameters
    ----------
    reference : onnx_ir.Model
        The prepared float model, which runs once on the samples.
    tensors : mapping of str to int or None
        The tensors that may become int8, each with its channel axis if equalisation may scale its channels.
    data, settings
        The samples, and how the model runs on them.
    judge : Judge
        Scores on the samples held back, which are the only fold if there are many samples.
    effort : Effort
        Limits how many samples a fold judges on.

    Attributes
    ----------
    are_many : bool
        Whether there are so many samples that those held back judge alone.
    """

    def __init__(
        self,
        reference: ir.Model,
        tensors: Mapping[str, int | None],
        data: CalibrationData,
        settings: Settings,
        judge: Judge,
        effort: Effort,
    ) -> None:
        self._outcomes: WeakKeyDictionary[ir.Model, dict[tuple[QuantPlan, float, float], Outcome]] = (
            WeakKeyDictionary()
        )
        self.are_many = data.runs >= MANY_RUNS
        step = max(2, data.runs // RANGE_RUNS) if self.are_many else 1
        ranges = FoldedRanges(tensors, (judge.split.stride or 1) if self.are_many else FOLDS, step)
        stride = FOLDS * math.ceil(data.runs / FOLDS / _judged_per_fold(judge, effort))
        splits = [] if self.are_many else [Split(stride, (index,)) for index in range(FOLDS)]
        judged = [JudgedTensors(judge.tensors, split) for split in splits]
        samples = data.samples(settings.batch_size, thread_count(), (0, step))
        blocks = data.runs >= MANY_FOR_BLOCKS
        stream(reference, [ranges, *judged], samples, device=settings.device, in_blocks=blocks)
        self._ranges = ranges.without(None)
        if self.are_many:
            self._folds = [_Fold(judge, ranges.without(ranges.count - 1))]
        else:
            judges = [Judge(reference, data, settings, item.split, judge, item.rows) for item in judged]
            self._folds = [_Fold(judge, ranges.without(index)) for index, judge in enumerate(judges)]

    @property
    def are_fair(self) -> bool:
        """Whether every fold judges on enough values for a reliable score."""
        return all(fold.judge.is_fair for fold in self._folds)

    def covers(self, trial: Trial) -> bool:
        """Whether the ranges of all int8 activations of the plan are known."""
        known = products(trial.model)
        return all(
            known.get(name, name) in self._ranges.low
            for group in trial.plan.groups
            if group.fixed_range is None
            for name in group.observed
        )

    def magnitudes(self, model: ir.Model, plan: QuantPlan) -> Magnitudes:
        """Return the largest magnitude per channel of every tensor that equalisation may scale."""
        sources, observed = products(model), channels_to_observe(model, plan)

        def among(ranges: ChannelRanges) -> dict[str, Vector]:
            largest = ranges.largest()
            names = ((name, sources.get(name, name)) for name in observed)
            return {name: largest[source] for name, source in names if source in largest}

        folds = [among(fold.ranges) for fold in self._folds]
        return Magnitudes(folds[0] if self.are_many else among(self._ranges), folds)

    def magnitude(self, model: ir.Model, tensor: str) -> Vector | None:
        """Return the largest magnitude per channel of one tensor before equalisation, or None if unknown."""
        return self._ranges.largest().get(products(model).get(tensor, tensor))

    def spreads(self, trial: Trial) -> list[ChannelSpread]:
        """Return the tensors whose channels differ most, and what the trial does about them."""
        quantized = {name for group in trial.plan.groups for name in group.tensors}
        scaled = {
            source: product for product, source in products(trial.model).items() if product in quantized
        }
        found = []
        for name, largest in self._ranges.largest().items():
            before = _spread(largest)
            if before < LEAST_SPREAD:
                continue
            tensor = scaled.get(name, name)
            scale = trial.scales.get(tensor)
            changed = scale is not None and len(scale) == len(largest) and bool((scale != 1.0).any())
            after = _spread(largest / scale) if changed and scale is not None else before
            if tensor not in quantized:
                done = LEFT_FLOAT
            elif not changed:
                done = f"{NOTHING_DONE}: no layer beside it takes up the scales, or it does not pay"
            else:
                done = "scaled by an inserted factor" if name in scaled else "scaled in the weights beside it"
            found.append(ChannelSpread(name, before, after, done))
        return sorted(found, key=lambda item: (-item.before, item.tensor))[:MOST_SPREADS]

    def judge(self, *trials: Trial) -> Outcome:
        """Return the outcome over the samples of all folds; equal trials of one model are run once.

        `trials` are those of the folds, see `judge_against`, or one trial for all folds.
        """
        found = self.judge_against(trials, None, None)
        assert found is not None
        return found

    def judge_against(
        self, trials: Sequence[Trial], best: Outcome | None, rival: Rival | None
    ) -> Outcome | None:
        """Return the outcome of the trials of all folds, or None if they certainly lose.

        They do not run on the second half of the samples if on the first half they are worse than the best
        ones so far by two standard deviations, or gain too little over the rival by as much.

        Parameters
        ----------
        trials : sequence of Trial
            One for every fold, each made without the samples of the fold, or one that suits all folds.
        best : Outcome or None
            The best outcome so far.
        rival : Rival or None
            What the trials must gain over in the end.
        """
        known = self._outcomes.setdefault(trials[0].model, {})
        key = trials[0].plan, trials[0].margin, trials[0].room
        if key not in known:
            run = self._prepared(trials)
            first = run(self._halves)
            if best is not None and self._loses(Outcome.joined(first), best, rival):
                return None
            rest = run([slice(half.stop, None) for half in self._halves])
            known[key] = Outcome.joined([part for both in zip(first, rest, strict=True) for part in both])
        return known[key]

    def _prepared(self, trials: Sequence[Trial]) -> Callable[[Sequence[slice]], list[Outcome]]:
        """Return a function that runs the trials on one part of the samples of every fold."""
        if len(trials) == 1:
            loaded = self._loaded(trials[0], self._folds)
        else:
            pairs = zip(trials, self._folds, strict=True)
            loaded = [item for trial, fold in pairs for item in self._loaded(trial, [fold])]

        def run(parts: Sequence[slice]) -> list[Outcome]:
            # One call for all folds keeps every thread busy.
            runs = [
                (session, {**feed, **found})
                for fold, (session, found), part in zip(self._folds, loaded, parts, strict=True)
                for feed in fold.judge.feeds[part]
            ]
            with Pool(thread_count()) as pool:
                outputs = pool.map(lambda item: item[0].run(item[1]), runs)
                return [
                    fold.judge.outcome_of(islice(outputs, len(fold.judge.feeds[part])), part)
                    for fold, part in zip(self._folds, parts, strict=True)
                ]

        return run

    def _loaded(self, trial: Trial, folds: Sequence[_Fold]) -> list[tuple[Session, Feeds]]:
        """Return the session of a trial for several folds, with the parameters of each fold."""
        activations = [self._activations(trial, fold.ranges) for fold in folds]
        adjustable = Adjustable(trial.model, trial.plan, set.intersection(*map(set, activations)))
        session = folds[0].judge.session(adjustable.model)
        return [(session, adjustable.parameters(found)) for found in activations]

    @property
    def _halves(self) -> list[slice]:
        return [slice(0, (len(fold.judge.feeds) + 1) // 2) for fold in self._folds]

    def _loses(self, first: Outcome, best: Outcome, rival: Rival | None) -> bool:
        """Whether a trial certainly loses, given its outcome on the first half of the samples."""
        sizes = [len(fold.judge.feeds) for fold in self._folds]
        starts = [sum(sizes[:index]) for index in range(len(sizes))]
        rows = [
            start + row for start, half in zip(starts, self._halves, strict=True) for row in range(half.stop)
        ]
        if len(rows) < FEW_JUDGES:
            return False
        lead = first.gain_of(best.rows(rows))
        if lead.db > max(CHOSEN * lead.deviation, FORMULA_GAIN_DB):
            return True
        if rival is None:
            return False
        gain = rival.outcome.rows(rows).gain_of(first)
        return gain.db + CHOSEN * gain.deviation < rival.least_gain_db

    def alone(self, trial: Trial, groups: Iterable[TensorGroup]) -> tuple[ir.Model, Feeds]:
        """Return the model of a trial with the given groups alone in int8, and its parameters.

        The parameters follow from the ranges of all samples.
        """
        wanted = {name for group in groups for name in group.tensors}
        found = self._activations(trial, self._ranges)
        adjustable = Adjustable(trial.model, trial.plan, wanted.intersection(found))
        return adjustable.model, adjustable.parameters(found)

    def _activations(self, trial: Trial, ranges: ChannelRanges) -> dict[str, QuantParams]:
        sources = products(trial.model)
        found: dict[str, QuantParams] = {}
        for group in trial.plan.groups:
            if group.fixed_range is not None:
                found.update(dict.fromkeys(group.tensors, activation_params(group, {})))
                continue
            extremes = [
                _extremes(ranges, sources.get(name, name), trial.scales.get(name))
                for name in group.observed
                if sources.get(name, name) in ranges.low
            ]
            low = min((low for low, _ in extremes), default=-math.inf)
            high = max((high for _, high in extremes), default=math.inf)
            # A tensor that holds infinities, as a mask does, turns out to be float after calibration.
            if math.isfinite(low) and math.isfinite(high):
                room = trial.widening(group)
                found.update(dict.fromkeys(group.tensors, params_of_range(low * room, high * room)))
        return found


def _judged_per_fold(judge: Judge, effort: Effort) -> int:
    inputs = sum(array.size for feeds in judge.feeds[:1] for array in feeds.values())
    return min(JUDGED_PER_FOLD, max(FEWEST_PER_FOLD, effort.judging_inputs // max(inputs, 1)))


def _spread(magnitudes: Vector) -> float:
    """Return the largest magnitude over the median one of the channels that are not zero."""
    used = magnitudes[magnitudes > 0]
    return float(used.max() / np.median(used)) if used.size else 1.0


def _extremes(ranges: ChannelRanges, name: str, scale: NDArray[np.float64] | None) -> tuple[float, float]:
    low, high = ranges.low[name], ranges.high[name]
    if scale is None or len(scale) != len(low):
        return float(low.min()), float(high.max())
    return float((low / scale).min()), float((high / scale).max())
