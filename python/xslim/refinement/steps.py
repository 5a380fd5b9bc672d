"""The steps of refinement in their order; each is kept only when it gains on samples held back."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import onnx_ir as ir

from xslim.calibration.budget import output_bytes
from xslim.calibration.data import CalibrationData
from xslim.calibration.grams import GramCollector
from xslim.calibration.observe import Settings
from xslim.export.qdq import export_qdq
from xslim.graph.gains import StepGain
from xslim.graph.layers import Vectors
from xslim.graph.scheme import Quantization, QuantPlan
from xslim.kernels import Sketch
from xslim.quantization.bias_correction import correct_biases
from xslim.quantization.parameters import activation_params
from xslim.quantization.rounding import layers_to_round, round_to_nearest, round_with_feedback
from xslim.refinement.equalization import Equalized, Planner, has_room, search_equalization
from xslim.refinement.judge import METRIC, HeldBack, output_elements, split
from xslim.refinement.range_search import Trials, search_ranges
from xslim.refinement.sequential_bias import correct_biases_in_sequence
from xslim.runtime import Feeds, thread_count
from xslim.targets import Target

logger = logging.getLogger(__name__)

LEAST_GAIN_DB = 0.05
LEAST_CHOICE_GAIN_DB = 0.2
"""A choice among alternatives has to show more than a step that follows from a formula."""
RUNS_PER_SAMPLE = {2: 2, 3: 10}
"""Runs of the quantised model that reconstruction may take, by finetune level, per run of calibration."""
FOLLOWED = {1: 16, 2: 32, 3: 64}
"""Samples that both networks run layer by layer, by finetune level."""
FOLLOWED_BYTES = {1: 384 << 20, 2: 768 << 20, 3: 768 << 20}
LIVE_TENSORS = 6
"""Memory for them, and how many tensors of the largest size are held at a time."""
UNJUDGED = (
    "one sample leaves none to judge a fit: nothing is fitted but biases; "
    "more samples (100 are usual) give better results"
)
FACTORS = {1: (1.0,), 2: (1.0, 0.94, 0.88, 1.06), 3: (1.0, 0.97, 0.94, 0.91, 0.88, 0.82, 1.03, 1.06)}
"""Scales of weights that are tried with feedback, by finetune level."""


@dataclass(frozen=True)
class Refined:
    """A float model, its plan and the numbers that go with them.

    Attributes
    ----------
    model : onnx_ir.Model
        Float, with corrected biases.
    plan, quantization
        What is int8, and with which parameters.
    loss : float or None
        Output SQNR in dB on the samples held back, where it was measured.
    """

    model: ir.Model
    plan: QuantPlan
    quantization: Quantization
    loss: float | None = None


class Refinement:
    """One run's refinement: what is held back, what is collected and what every step gained.

    Parameters
    ----------
    prepared : onnx_ir.Model
        The prepared float model.
    data : CalibrationData
        The samples.
    settings : Settings
        How they are run.
    planner : callable
        Makes the plan of a float model.
    target : Target
        The operator table.
    level : int
        The finetune level, 1 to 3.
    weight_bits : int
        Width of the weights.

    Attributes
    ----------
    gains : list of StepGain
        What every step gained so far.
    """

    def __init__(
        self,
        prepared: ir.Model,
        data: CalibrationData,
        settings: Settings,
        planner: Planner,
        target: Target,
        level: int = 1,
        weight_bits: int = 8,
    ) -> None:
        self._data = data
        self._settings = replace(settings, store=None)
        self._planner = planner
        self._target = target
        self._level = level
        self._bits = weight_bits
        first = next(data.samples(workers=0), {})
        inputs, outputs = sum(array.size for array in first.values()), output_elements(prepared)
        self._split = split(data.runs, inputs, outputs, level)
        self._held_back = HeldBack(prepared, data, settings, self._split)
        self._judged = self._split.stride is not None
        if not self._judged:
            logger.warning(UNJUDGED)
        self._equalized: Equalized | None = None
        self.gains: list[StepGain] = []

    def equalize(self, prepared: ir.Model, plan: QuantPlan) -> tuple[ir.Model, QuantPlan]:
        """Equalise channels as far as it brings the int8 activations closer to float, at full ranges."""
        if not self._judged:
            return prepared, plan
        found = search_equalization(
            prepared,
            plan,
            self._data,
            self._settings,
            self._planner,
            self._target,
            (self._split, self._held_back),
        )
        if found is None:
            return prepared, plan
        if not self._judge(f"equalisation (strength {found.strength:g})", found.before, found.after):
            return prepared, plan
        self._equalized = found
        return found.model, found.plan

    def collector(self, model: ir.Model, plan: QuantPlan) -> GramCollector:
        """Return what has to watch the calibration pass for `round`."""
        wanted = dict.fromkeys(layer.vectors for _, layer in layers_to_round(model, plan))
        return GramCollector(wanted, self._data.runs, self._split.holds_back)

    def widen(self, start: Refined, sketches: Mapping[str, Sketch]) -> Refined:
        """Clip no activation where that is better, and leave room for values that few samples do not show."""
        if not self._judged:
            return start
        groups = start.plan.groups
        open_method = [group for group in groups if group.method == "default" and group.fixed_range is None]
        best = start
        if open_method:
            full = dict(start.quantization.activations)
            for group in open_method:
                found = activation_params(replace(group, method="minmax"), sketches)
                full.update(dict.fromkeys(group.tensors, found))
            candidate = replace(start, quantization=replace(start.quantization, activations=full))
            before, after = self._float_weights(start), self._float_weights(candidate)
            best = candidate if self._judge("full ranges", before, after, LEAST_CHOICE_GAIN_DB) else start
        return self._with_margin(best)

    def _float_weights(self, candidate: Refined) -> float:
        activations = Quantization(candidate.quantization.activations, {})
        return self._loss(replace(candidate, quantization=activations))

    def _with_margin(self, start: Refined) -> Refined:
        equalized = self._equalized
        if equalized is None or equalized.margin == 1.0:
            return start
        activations = dict(start.quantization.activations)
        for group in start.plan.groups:
            if has_room(group, equalized.tensors):
                old = activations[group.name]
                params = replace(old, scale=np.asarray(old.scale * equalized.margin, np.float32))
                activations.update(dict.fromkeys(group.tensors, params))
        return replace(start, quantization=replace(start.quantization, activations=activations))

    def round(self, start: Refined, collected: GramCollector) -> Refined:
        """Round weights with feedback and correct biases."""
        model, plan = start.model, start.plan
        nearest = round_to_nearest(model, plan, start.quantization, self._bits)
        grams = collected.usable()
        _mention_unusable(model, plan, grams)
        means = {vectors: gram.mean for vectors, gram in grams.items()}
        if not self._judged:
            return Refined(correct_biases(model, plan, nearest, means, self._target), plan, nearest)
        best, loss = replace(start, quantization=nearest), self._loss(replace(start, quantization=nearest))
        for level in range(1, self._level + 1):
            numbers = round_with_feedback(
                model, plan, nearest, grams, bits=self._bits, factors=FACTORS[level]
            )
            step = "second-order rounding" if level == 1 else f"{len(FACTORS[level])} scales per channel"
            candidate = Refined(correct_biases(model, plan, numbers, means, self._target), plan, numbers)
            after = self._loss(candidate)
            if self._judge(step, loss, after, LEAST_GAIN_DB if level == 1 else LEAST_CHOICE_GAIN_DB):
                best, loss = candidate, after
        if best.model is model:
            candidate = Refined(correct_biases(model, plan, nearest, means, self._target), plan, nearest)
            after = self._loss(candidate)
            if self._judge("bias correction", loss, after):
                best, loss = candidate, after
        return replace(best, loss=loss)

    def follow(self, start: Refined, reference: ir.Model) -> Refined:
        """Correct biases on the activations that the quantised network really has."""
        if not self._judged:
            return start
        samples = self._followed(reference, start.plan)
        corrected = correct_biases_in_sequence(
            reference, start.model, start.plan, start.quantization, self._target, samples
        )
        return self._better("biases in sequence", start, replace(start, model=corrected))

    def _better(self, step: str, start: Refined, candidate: Refined) -> Refined:
        """Return the candidate, one of several choices, where it gains, else the start."""
        before = self._loss(start) if start.loss is None else start.loss
        after = self._loss(candidate)
        return (
            replace(candidate, loss=after)
            if self._judge(step, before, after, LEAST_CHOICE_GAIN_DB)
            else start
        )

    def _followed(self, model: ir.Model, plan: QuantPlan) -> list[Feeds]:
        """Some samples of the fit, spread over all, whose activations fit into memory layer by layer."""
        first = next(self._data.samples(workers=0))
        largest = max(output_bytes(model, plan.observed, first).values(), default=1)
        wanted = max(1, min(FOLLOWED[self._level], FOLLOWED_BYTES[self._level] // (LIVE_TENSORS * largest)))
        step = max(1, self._data.runs * 3 // (4 * wanted))
        shard = self._data.samples(self._settings.batch_size, thread_count(), (0, step))
        fitting = (feeds for number, feeds in enumerate(shard) if not self._split.holds_back(number * step))
        return list(islice(fitting, wanted))

    def reconstruct(self, start: Refined, reference: ir.Model) -> Refined:
        """Search the ranges of activations on samples of the fit, level 3 for longer; then biases again."""
        if self._level < 2 or not self._judged:
            return start
        feeds = self._fitting()
        exported = export_qdq(start.model, start.plan, start.quantization, self._target)
        old = start.quantization.activations
        scales = {name: params.scale for name, params in old.items()}
        trials = Trials(sweeps=self._level - 1, runs=RUNS_PER_SAMPLE[self._level] * self._data.runs)
        found = search_ranges(exported, start.plan, scales, feeds, reference, trials)
        activations = {name: replace(params, scale=found[name]) for name, params in old.items()}
        candidate = replace(start, quantization=replace(start.quantization, activations=activations))
        best = self._better("reconstruction of ranges", start, candidate)
        return start if best is start else self.follow(best, reference)

    def _fitting(self) -> list[Feeds]:
        """As many samples as are held back, but others."""
        shard = (0, self._split.stride or 1)
        return list(self._data.samples(self._settings.batch_size, thread_count(), shard))

    def _loss(self, candidate: Refined) -> float:
        exported = export_qdq(candidate.model, candidate.plan, candidate.quantization, self._target)
        return self._held_back.sqnr(exported)

    def _judge(self, step: str, before: float, after: float, least: float = LEAST_GAIN_DB) -> bool:
        kept = after >= before + least
        self.gains.append(StepGain(step, METRIC, before, after, kept))
        return kept


def _mention_unusable(model: ir.Model, plan: QuantPlan, grams: Container[Vectors]) -> None:
    """Name the layers about whose inputs nothing is known."""
    names = sorted(layer.node for _, layer in layers_to_round(model, plan) if layer.vectors not in grams)
    if names:
        logger.warning(
            "weights are rounded to nearest where the inputs are not finite or empty: %s", ", ".join(names)
        )


def log_gains(gains: Sequence[StepGain]) -> None:
    """Log what every step of refinement gained, as one table."""
    if not gains:
        return
    width = max(len("step"), *(len(gain.step) for gain in gains))
    lines = [f"{'step':<{width}}   before    after"]
    for gain in gains:
        undone = "" if gain.kept else "   undone"
        lines.append(f"{gain.step:<{width}}  {gain.before:7.2f}  {gain.after:7.2f}{undone}")
    logger.info("%s on samples held back from the fit:\n%s", METRIC, "\n".join(lines))
