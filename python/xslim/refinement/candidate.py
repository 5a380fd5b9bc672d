"""The data of refinement: the candidate that a step changes, and the material that all steps use.

These classes are not in `steps`, because `steps` imports every step and every step imports the classes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import onnx_ir as ir

from xslim.calibration.data import CalibrationData
from xslim.calibration.observe import Settings
from xslim.export.qdq import export_qdq
from xslim.graph.factors import products
from xslim.graph.gains import StepGain
from xslim.graph.layers import Vectors
from xslim.graph.scheme import Quantization, QuantParams, QuantPlan
from xslim.kernels import Gram, Sketch
from xslim.quantization.balancing import insert_factors
from xslim.quantization.equalization import Vector, channels_to_observe
from xslim.refinement.activation_trials import ActivationTrials, Magnitudes, Trial
from xslim.refinement.effort import EFFORT, Effort
from xslim.refinement.judge import Judge, output_elements, split
from xslim.refinement.outcome import Outcome
from xslim.targets import Target

logger = logging.getLogger(__name__)

UNJUDGED = (
    "one sample leaves none to judge a fit: nothing is fitted but biases; "
    "more samples (100 are usual) give better results"
)


Planner = Callable[[ir.Model, Mapping[str, str]], QuantPlan]
"""Makes the plan of a float model; the mapping names tensors that stay float, each with the reason."""


@dataclass(frozen=True)
class Scores:
    """Outcomes that a step has measured itself.

    Attributes
    ----------
    before, after : Outcome
        The outcomes without and with the change.
    detail : str
        The choice of the step in words, for the table of gains.
    """

    before: Outcome
    after: Outcome
    detail: str


@dataclass(frozen=True)
class Candidate:
    """A float model, its plan and the numbers that go with them.

    Attributes
    ----------
    model : onnx_ir.Model
        The float model; its biases may have been corrected.
    plan : QuantPlan
        What is int8.
    quantization : Quantization
        Scales, zero points and int8 constants; empty before calibration.
    margin : float
        Factor by which the ranges of equalised tensors are widened, for values that few samples do not
        contain; 1 does not change them.
    room : float
        Factor by which all ranges are widened at least.
    scales : mapping of str to float64 array
        The divisor of every channel of the tensors that equalisation scaled.
    strength : float
        The strength of the equalisation.
    equalised : Outcome or None
        The outcome of the equalised model with scales that the judging samples did not determine.
    kept_float : mapping of str to str
        Tensors that stay float by a decision of this run, each with the reason.
    everywhere : bool
        Whether factors stand around int8 operators too, which then became float.
    noise : mapping of str to float64 array
        Noise over signal, for every output, of each int8 activation alone; empty if it was not measured.
    gains : tuple of StepGain
        The gains of all steps that were judged so far.
    measured : Scores or None
        The scores that the step which made the candidate has measured itself, if it did.
    """

    model: ir.Model
    plan: QuantPlan
    quantization: Quantization = field(default_factory=lambda: Quantization({}, {}))
    margin: float = 1.0
    room: float = 1.0
    scales: Mapping[str, Vector] = field(default_factory=dict)
    strength: float = 0.0
    equalised: Outcome | None = None
    kept_float: Mapping[str, str] = field(default_factory=dict)
    everywhere: bool = False
    noise: Mapping[str, Vector] = field(default_factory=dict)
    gains: tuple[StepGain, ...] = ()
    measured: Scores | None = None

    def with_activations(self, changed: Mapping[str, QuantParams]) -> Candidate:
        """Return the candidate with other parameters of some int8 activations."""
        activations = {**self.quantization.activations, **changed}
        return replace(self, quantization=replace(self.quantization, activations=activations))

    @property
    def trial(self) -> Trial:
        """The candidate as a trial of int8 activations alone."""
        return Trial(self.model, self.plan, self.scales, self.strength, self.margin, self.room)


@dataclass(frozen=True)
class Material:
    """Everything that the steps of a run may use.

    Attributes
    ----------
    reference : onnx_ir.Model
        The float model that calibration runs; the candidates have the same tensors.
    data, settings
        The samples, and how the model runs on them.
    planner : callable
        Makes the plan of a float model.
    target : Target
        The operator table.
    effort : Effort
        The limits of time, memory and samples of the finetune level.
    judge : Judge
        Scores candidates on samples to which no step is fitted.
    float_share : float
        Largest share of the int8 multiply-accumulates that may become float.
    float_tensors : sequence of str
        Names or patterns of tensors that the configuration wants float; the planner does not know them.
    sketches : mapping of str to Sketch
        Sketches of the observed tensors; empty before calibration.
    grams : mapping of Vectors to Gram
        Second moments of the inputs of int8 layers, for finite inputs only; empty before calibration.
    """

    reference: ir.Model
    data: CalibrationData
    settings: Settings
    planner: Planner
    target: Target
    effort: Effort
    judge: Judge
    float_share: float = 0.0
    float_tensors: Sequence[str] = ()
    sketches: Mapping[str, Sketch] = field(default_factory=dict)
    grams: Mapping[Vectors, Gram] = field(default_factory=dict)

    @staticmethod
    def of(
        prepared: ir.Model,
        data: CalibrationData,
        settings: Settings,
        planner: Planner,
        target: Target,
        level: int,
        float_share: float,
    ) -> Material:
        """Collect the material that exists before calibration; the float model runs on the judge's samples.

        Parameters are those of the class; `prepared` is the prepared float model, `level` the finetune level.
        """
        effort = EFFORT[level]
        first = next(data.samples(workers=0), {})
        inputs, outputs = sum(array.size for array in first.values()), output_elements(prepared)
        judge = Judge(prepared, data, settings, split(data.runs, inputs, outputs, effort))
        if not judge.can_judge:
            logger.warning(UNJUDGED)
        return Material(
            prepared, data, replace(settings, store=None), planner, target, effort, judge, float_share
        )

    @property
    def means(self) -> dict[Vectors, Vector]:
        """Mean input vector of every layer; empty before calibration."""
        return {vectors: gram.mean for vectors, gram in self.grams.items()}

    @cached_property
    def reserve(self) -> Judge | None:
        """A judge on more and other samples, for gains in doubt; None if there are too few samples."""
        split = self.judge.split.reserve()
        return None if split is None else Judge(self.reference, self.data, self.settings, split, self.judge)

    @cached_property
    def trials(self) -> ActivationTrials:
        """Trials with int8 activations alone; the first use runs the float model on the samples."""
        plan = self.planner(self.reference, {})
        extended = insert_factors(self.reference, plan, everywhere=True)
        wide = self.planner(extended, {})
        product = products(extended)
        tensors: dict[str, int | None] = dict.fromkeys([*plan.observed, *wide.observed])
        tensors.update(channels_to_observe(self.reference, plan))
        tensors.update(channels_to_observe(extended, wide))
        sources = {product.get(name, name): axis for name, axis in tensors.items()}
        return ActivationTrials(self.reference, sources, self.data, self.settings, self.judge, self.effort)

    def magnitudes(self, model: ir.Model) -> Magnitudes:
        """Return the largest magnitude per channel of the tensors of a model that equalisation may scale."""
        return self.trials.magnitudes(model, self.planner(model, {}))

    def export(self, candidate: Candidate) -> ir.Model:
        """Return the quantised model of a candidate."""
        return export_qdq(candidate.model, candidate.plan, candidate.quantization, self.target)


Measure = Callable[[Candidate, Material], Outcome]
"""Judges a candidate."""


def judge_outputs(candidate: Candidate, material: Material) -> Outcome:
    """Judge the outputs of the quantised model."""
    return material.judge.judge(material.export(candidate))


def judge_activations(candidate: Candidate, material: Material) -> Outcome:
    """Judge the outputs of the model whose activations alone are int8."""
    activations = Quantization(candidate.quantization.activations, {})
    return judge_outputs(replace(candidate, quantization=activations), material)
