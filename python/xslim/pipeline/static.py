"""Precision levels 0 to 2 end to end: prepare, plan, calibrate, refine, export, compare, save, report."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.analysis import Report, Subject, analyse
from xslim.analysis.advice.samples import few_samples
from xslim.analysis.saturated import compare_behind
from xslim.calibration.data import CalibrationData
from xslim.config import Config
from xslim.errors import ModelError, XSlimError
from xslim.export.proof import NotRunnableError, OutputComparison, prove
from xslim.export.qdq import export_qdq
from xslim.export.trial import run_on_samples
from xslim.graph.gains import StepGain
from xslim.graph.inputs import input_specs
from xslim.graph.io import save_model
from xslim.graph.layers import Vectors
from xslim.graph.scheme import Quantization, QuantPlan
from xslim.graph.spreads import ChannelSpread
from xslim.kernels import Sketch
from xslim.pipeline.calibrate import calibrate
from xslim.pipeline.cut import FirstPart
from xslim.pipeline.epilogue import log_epilogue
from xslim.pipeline.fallback import prepared_at_lower_opset, serialised
from xslim.pipeline.finish import log_comparison
from xslim.pipeline.original import Original
from xslim.pipeline.paths import SKETCHES, ModelSource, OutputPaths
from xslim.pipeline.prepare import prepare_model
from xslim.pipeline.preprocessing import judge_preprocessing
from xslim.pipeline.report import comparison_of, date_of_run, log_report, write_report
from xslim.pipeline.result import Finished
from xslim.progress import timed
from xslim.quantization.integer_bias import integer_biases
from xslim.refinement.float_tensors import log_left_float
from xslim.refinement.steps import Stage, log_gains, refine
from xslim.runtime import Feeds, Isolated, unknown_operators
from xslim.targets import Target

logger = logging.getLogger(__name__)

COMPARED_SAMPLES = 4


def run_static(
    model: ir.Model,
    source: ModelSource,
    config: Config,
    paths: OutputPaths,
    sketch_files: Sequence[Path],
    isolated: Isolated,
) -> Finished:
    """Quantise a float model at precision level 0, 1 or 2, and write the result and its report.

    Parameters
    ----------
    model : onnx_ir.Model
        The float model.
    source : ModelProto or Path
        The source of the model: a path, or a model in memory.
    config : Config
        The configuration of the run.
    paths : OutputPaths
        The paths of the output files.
    sketch_files : sequence of Path
        Sketch files of ``xslim collect``, which are used in place of calibration.
    isolated : Isolated
        The child process that runs the float model for the first time, and the result.

    Raises
    ------
    XSlimError
        No operator can be quantised, the data are wrong, the result does not pass its checks, or an output
        cannot be written.
    """
    with timed("preparation"):
        known = original_model(model, source, config, isolated)
        original = known.source
        prepared = prepare_model(model, config, known)
    with timed("check of the preprocessing"):
        judged = judge_preprocessing(known.model, config, isolated) if known.trials else None
    # The arrays of the trial runs are not needed during calibration.
    del known
    run = _quantised(prepared, config, paths, sketch_files, isolated)
    try:
        with timed("check of the result"):
            comparison = run.compare(original, paths, isolated, fully_optimised=True)
    except NotRunnableError as error:
        known = original_model(model, source, config, isolated)
        lower = None if sketch_files else prepared_at_lower_opset(run.whole, error, model, config, known)
        run = run if lower is None else _quantised(lower, config, paths, (), isolated)
        comparison = run.compare(original, paths, isolated)
    part, result, whole = run.part, run.result, run.whole
    log_gains(result.gains)
    log_left_float(result.plan)
    wanted = config.quantization_parameters.analysis_enable
    # The report, including its sizes, describes the converted part only.
    before = model if part.parts is None else part.model
    subject = replace(_subject(before, source, result, config, paths), preprocessing=judged)
    report = _analyse(subject) if wanted else None
    shown = report is None or part.parts is not None
    if shown and comparison:
        behind = compare_behind(result.reference, result.model, result.compared)
        comparison = [*comparison, *(comparison_of(output) for output in behind)]
    save_model(whole, paths.model)
    if shown:
        log_comparison(comparison, len(result.compared), unseen=result.unseen > 0)
    if report is None:
        for finding in few_samples(subject):
            logger.warning("%s", finding.title)
    else:
        comparison = (
            [comparison_of(output) for output in report.outputs] if part.parts is None else comparison
        )
        language = config.quantization_parameters.report_language
        log_report(report, write_report(report, paths, language))
    return Finished(whole, comparison, subject, report)


@dataclass(frozen=True)
class StaticResult:
    """The result of a static run.

    Attributes
    ----------
    model : onnx_ir.Model
        The quantised model.
    reference : onnx_ir.Model
        The float model with the same tensor names: prepared and perhaps equalised.
    plan, quantization
        The plan of what is int8, and its numbers.
    target : Target
        The operator table.
    sketches : dict of str to Sketch
        Sketches of the observed tensors.
    samples : sequence of feeds
        At most 16 samples, or those of ``comparison_samples``, one by one.
    unseen : int
        Number of the first samples among these that calibration has not seen.
    calibration_samples : int
        Number of samples that the ranges were calibrated on.
    gains : tuple of StepGain
        The gain of every step of refinement, on samples held back from it.
    early_ranges : dict of str to (low, high)
        Extremes of the observed tensors after three quarters of the samples; empty if unknown.
    spreads : sequence of ChannelSpread
        The tensors whose channels differ most.
    means : mapping of Vectors to float64 array
        Mean input vector of every layer, with which biases were corrected; empty without refinement.
    """

    model: ir.Model
    reference: ir.Model
    plan: QuantPlan
    quantization: Quantization
    target: Target
    sketches: dict[str, Sketch]
    samples: Sequence[Feeds]
    unseen: int
    calibration_samples: int
    gains: tuple[StepGain, ...] = ()
    early_ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    spreads: Sequence[ChannelSpread] = ()
    means: Mapping[Vectors, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def compared(self) -> Sequence[Feeds]:
        """The samples to compare on: those that calibration has not seen, or else a few of the others."""
        return self.samples[: self.unseen or COMPARED_SAMPLES]


def quantize_static(
    prepared: ir.Model,
    config: Config,
    store: Path,
    sketch_files: Sequence[Path] = (),
    isolated: Isolated | None = None,
) -> StaticResult:
    """Quantise a prepared model with calibration data.

    Parameters
    ----------
    prepared : onnx_ir.Model
        The prepared float model.
    config : Config
        The configuration of the run.
    store : Path
        File that keeps the sketches.
    sketch_files : sequence of Path
        Sketch files of ``xslim collect``, one for every shard, which are used in place of the store.
    isolated : Isolated, optional
        The child process in which a model runs before it runs in this process.

    Raises
    ------
    CrashError
        onnxruntime crashes on the model.
    ModelError
        No operator of the model can be int8 under this configuration.
    DataError
        The calibration data are wrong.
    """
    found = calibrate(prepared, config, store, sketch_files, isolated)
    start, target = found.candidate, found.target
    if found.material and isolated:
        first = found.material.export(start)
        isolated.session(first, threads=1, qdq_as_written=True).run(found.samples[0])
        isolated.give_back()
    refined = refine(start, found.material, Stage.AFTER_CALIBRATION) if found.material else start
    everywhere = config.quantization_parameters.bias_type == "int32"
    quantization = integer_biases(
        refined.model, refined.plan, refined.quantization, target, everywhere=everywhere
    )
    return StaticResult(
        model=export_qdq(refined.model, refined.plan, quantization, target),
        reference=start.model,
        plan=refined.plan,
        quantization=quantization,
        target=target,
        sketches=found.sketches,
        samples=found.samples,
        unseen=found.unseen,
        calibration_samples=found.calibration_samples,
        gains=refined.gains,
        early_ranges=found.early_ranges,
        spreads=found.spreads,
        means={} if found.material is None else found.material.means,
    )


@dataclass(frozen=True)
class _Quantised:
    """A quantised model, and the models and data from which it was made."""

    part: FirstPart
    result: StaticResult
    whole: ir.Model

    def compare(
        self, original: bytes | Path, paths: OutputPaths, isolated: Isolated, *, fully_optimised: bool = False
    ) -> list[OutputComparison]:
        """Check the result and compare it with the float model, if onnxruntime can run the whole model."""
        samples = self.result.compared
        with serialised(self.whole, paths.model) as quantized:
            unknown = unknown_operators(self.whole)
            trials = [] if unknown else run_on_samples(original, samples, isolated)
            rows = prove(
                quantized,
                original,
                trials,
                isolated,
                called="quantised",
                loads=not unknown,
                fully_optimised=fully_optimised,
                survives=ModelError,
            )
        if self.result.target.float16_epilogue:
            log_epilogue(self.whole, trials, isolated)
        isolated.give_back()
        if unknown:
            logger.warning(
                "onnxruntime has no operator %s: the result is neither run nor compared", unknown[0]
            )
        return rows


def _quantised(
    prepared: ir.Model,
    config: Config,
    paths: OutputPaths,
    sketch_files: Sequence[Path],
    isolated: Isolated,
) -> _Quantised:
    part = FirstPart.of(prepared, config)
    store = paths.beside(SKETCHES)
    result = quantize_static(part.model, config, store, sketch_files, isolated=isolated)
    return _Quantised(part, result, part.whole(result.model))


def original_model(model: ir.Model, source: ModelSource, config: Config, isolated: Isolated) -> Original:
    """Return the original, run on random input and on the first sample."""
    samples = [] if unknown_operators(model) else _first_sample(model, config)
    unchecked = config.model_parameters.unchecked
    return Original.of(model, source, isolated, unchecked=unchecked, samples=samples)


def _first_sample(model: ir.Model, config: Config) -> list[Feeds]:
    """Return the first sample, or none if it is invalid; calibration then reports the error."""
    try:
        data = CalibrationData(input_specs(model), config.calibration_parameters, config.base_dir)
        return list(islice(data.batches(1, workers=1), 1))
    except XSlimError as error:
        logger.debug("no sample to prove the prepared model with: %s", error)
        return []


def _analyse(subject: Subject) -> Report:
    """Compare the result of a static run with the float model, tensor by tensor.

    Raises
    ------
    InternalError
        One of the models does not run.
    """
    logger.info("comparing with the float model, tensor by tensor")
    with timed("comparison of tensors"):
        return analyse(subject)


def _subject(
    original: ir.Model, source: ModelSource, result: StaticResult, config: Config, paths: OutputPaths
) -> Subject:
    from xslim import __version__

    return Subject(
        name=paths.prefix,
        version=__version__,
        original=original,
        reference=result.reference,
        exported=result.model,
        plan=result.plan,
        quantization=result.quantization,
        sketches=result.sketches,
        samples=result.samples,
        unseen=result.unseen,
        calibration_samples=result.calibration_samples,
        config=config,
        early_ranges=result.early_ranges,
        steps=result.gains,
        spreads=result.spreads,
        source=source.name if isinstance(source, Path) else "",
        date=date_of_run(),
    )
