"""The data of refinement: the candidate that a step changes, and the material that all steps use.

These classes are not in `steps`, because `steps` imports every step and every step imports the classes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from xslim.calibration.data import CalibrationData
from xslim.calibration.observe import Settings
from xslim.export.qdq import export_qdq
from xslim.graph.gains import StepGain
from xslim.graph.layers import Vectors
from xslim.graph.scheme import Quantization, QuantPlan
from xslim.kernels import Gram, Sketch
from xslim.refinement.effort import EFFORT, Effort
from xslim.refinement.judge import Judge, output_elements, split
from xslim.targets import Target

logger = logging.getLogger(__name__)

UNJUDGED = (
    "one sample leaves none to judge a fit: nothing is fitted but biases; "
    "more samples (100 are usual) give better results"
)


Planner = Callable[[ir.Model], QuantPlan]
"""Function that makes the plan of a float model, with the target and the rules of the run."""


@dataclass(frozen=True)
class Room:
    """The factor by which the ranges of some tensors are widened, for values that few samples do not contain.

    Attributes
    ----------
    factor : float
        Factor of the ranges; 1 does not change them.
    tensors : frozenset of str
        The tensors.
    """

    factor: float = 1.0
    tensors: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Scores:
    """Scores in dB that a step has measured itself.

    Attributes
    ----------
    before, after : float
        The scores without and with the change.
    detail : str
        The choice of the step in words, for the table of gains.
    """

    before: float
    after: float
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
    room : Room
        The factor by which equalisation wants the calibrated ranges to be widened.
    gains : tuple of StepGain
        The gains of all steps that were judged so far.
    measured : Scores or None
        The scores that the step which made the candidate has measured itself, if it did.
    """

    model: ir.Model
    plan: QuantPlan
    quantization: Quantization = field(default_factory=lambda: Quantization({}, {}))
    room: Room = Room()
    gains: tuple[StepGain, ...] = ()
    measured: Scores | None = None

    def has_kept(self, step: str) -> bool:
        """Whether a step of this name was judged and kept."""
        return any(gain.kept and gain.step == step for gain in self.gains)


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
        return Material(prepared, data, replace(settings, store=None), planner, target, effort, judge)

    def export(self, candidate: Candidate) -> ir.Model:
        """Return the quantised model of a candidate."""
        return export_qdq(candidate.model, candidate.plan, candidate.quantization, self.target)


Measure = Callable[[Candidate, Material], float]
"""Scores a candidate in dB; higher is better."""


def score_of_outputs(candidate: Candidate, material: Material) -> float:
    """Score the outputs of the quantised model."""
    return material.judge.score(material.export(candidate))


def score_of_activations(candidate: Candidate, material: Material) -> float:
    """Score the outputs of the model whose activations alone are int8."""
    activations = Quantization(candidate.quantization.activations, {})
    return score_of_outputs(replace(candidate, quantization=activations), material)
