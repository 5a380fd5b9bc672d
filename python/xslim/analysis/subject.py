"""The input of the analysis: models, numbers and samples of a static run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from xslim.analysis.facts import JudgedPreprocessing
from xslim.analysis.report import Range
from xslim.config import Config
from xslim.graph.gains import StepGain
from xslim.graph.scheme import Quantization, QuantPlan
from xslim.graph.spreads import ChannelSpread
from xslim.kernels import Sketch
from xslim.runtime import Feeds


@dataclass(frozen=True)
class Subject:
    """Models, numbers and samples of one run.

    Attributes
    ----------
    name : str
        Name of the output.
    version : str
        Version of XSlim.
    original : onnx_ir.Model
        The model that the user gave.
    reference : onnx_ir.Model
        The float model with the tensor names of the exported model: prepared, perhaps equalised, not rounded.
    exported : onnx_ir.Model
        The QDQ model.
    plan, quantization
        The plan of what is int8, and its numbers.
    sketches : mapping of str to Sketch
        Sketches of the observed tensors over all calibration samples.
    samples : sequence of feeds
        At most 16 samples, or those of ``comparison_samples``; the models run on at most `MOST_SAMPLES` of
        them, see `analysed_samples`.
    unseen : int
        Number of the first samples among these that calibration has not seen; the models run on these only,
        if there are any.
    calibration_samples : int
        Number of samples that the ranges were calibrated on.
    config : Config
        The configuration of the run.
    early_ranges : mapping of str to (low, high)
        Extremes of the observed tensors after three quarters of the samples; empty if unknown.
    steps : tuple of StepGain
        The gain of each step of refinement.
    spreads : sequence of ChannelSpread
        The tensors whose channels differ most.
    source : str
        Name of the model's file; empty for a model in memory.
    date : str
        Day and time of the run, for the title of the report; empty leaves it out.
    preprocessing : JudgedPreprocessing or None
        What the float model says about the preprocessing of its images; None if it tells nothing.
    """

    name: str
    version: str
    original: ir.Model
    reference: ir.Model
    exported: ir.Model
    plan: QuantPlan
    quantization: Quantization
    sketches: Mapping[str, Sketch]
    samples: Sequence[Feeds]
    calibration_samples: int
    config: Config
    early_ranges: Mapping[str, Range] = field(default_factory=dict)
    steps: tuple[StepGain, ...] = ()
    unseen: int = 0
    spreads: Sequence[ChannelSpread] = ()
    source: str = ""
    date: str = ""
    preprocessing: JudgedPreprocessing | None = None
