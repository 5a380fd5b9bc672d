"""What a static run hands to the analysis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from xslim.analysis.report import Range
from xslim.config import Config
from xslim.graph.gains import StepGain
from xslim.graph.scheme import Quantization, QuantPlan
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
        The model as it was given.
    reference : onnx_ir.Model
        The float model whose tensors the exported model names: prepared, equalised if so, nothing rounded.
    exported : onnx_ir.Model
        The QDQ model.
    plan, quantization
        What is int8, and with which parameters.
    sketches : mapping of str to Sketch
        Of the observed tensors, over all calibration samples.
    samples : sequence of feeds
        At most 16 for the models to run on; the analysis takes as many as are worth their time.
    calibration_samples : int
        Number of samples that chose the ranges.
    config : Config
        The configuration of the run.
    early_ranges : mapping of str to (low, high)
        Extremes of the observed tensors after three quarters of the samples; empty when not known.
    steps : tuple of StepGain
        What each refinement gained.
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
