"""Precision levels 0 to 2 end to end: prepare, plan, calibrate, refine, export, compare, save, report."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import onnx_ir as ir

from xslim.analysis import Report, Subject, analyse
from xslim.calibration.fingerprint import calibration_key
from xslim.calibration.merge import found_masks, merge_shards
from xslim.calibration.observe import observe, watch
from xslim.config import Config
from xslim.export.qdq import export_qdq
from xslim.export.verify import NotRunnableError, OutputComparison, compare_outputs, require_valid
from xslim.graph.gains import StepGain
from xslim.graph.io import save_model, to_proto
from xslim.graph.scheme import Quantization, QuantPlan
from xslim.kernels import Sketch
from xslim.pipeline.calibrate import calibration_settings, further_masks, start_static
from xslim.pipeline.cut import FirstPart
from xslim.pipeline.fallback import prepared_at_lower_opset, serialised
from xslim.pipeline.load import ModelSource, prepare_model
from xslim.pipeline.paths import SKETCHES, OutputPaths
from xslim.pipeline.report import log_report, write_report
from xslim.pipeline.summary import log_comparison
from xslim.quantization.integer_bias import integer_biases
from xslim.quantization.parameters import find_parameters
from xslim.quantization.sharing import share_parameters
from xslim.refinement.steps import Refined, log_gains
from xslim.runtime import Feeds, Isolated, unknown_operators

logger = logging.getLogger(__name__)

COMPARED_SAMPLES = 4
KEPT_SAMPLES = 16


def run_static(
    model: ir.Model,
    source: ModelSource,
    config: Config,
    paths: OutputPaths,
    sketch_files: Sequence[Path],
    isolated: Isolated,
) -> ir.Model:
    """Quantise a float model as precision level 0, 1 or 2 says, write it and its report.

    Parameters
    ----------
    model : onnx_ir.Model
        The float model.
    source : ModelProto or Path
        Where it came from.
    config : Config
        The configuration of the run.
    paths : OutputPaths
        Where everything goes.
    sketch_files : sequence of Path
        Sketches that ``xslim collect`` wrote, to be used instead of calibrating.
    isolated : Isolated
        The process that runs the float model first, and the result.

    Raises
    ------
    XSlimError
        Nothing can be quantised, the data are wrong, the result does not pass its checks, or the place
        cannot be written.
    """
    # A file is compared with as it is; only a model in memory has to be kept a second time.
    original = source if isinstance(source, Path) else to_proto(model).SerializeToString()
    run = _quantised(prepare_model(model, config), config, paths, sketch_files, isolated)
    try:
        comparison = run.compare(original, paths, isolated, fully_optimised=True)
    except NotRunnableError as error:
        lower = None if sketch_files else prepared_at_lower_opset(run.whole, error, model, config)
        run = run if lower is None else _quantised(lower, config, paths, (), isolated)
        comparison = run.compare(original, paths, isolated)
    part, result, whole = run.part, run.result, run.whole
    log_gains(result.gains)
    wanted = config.quantization_parameters.analysis_enable
    # The report is about the part that changed; sizes too.
    before = model if part.parts is None else part.model
    report = _analyse(before, result, config, paths) if wanted else None
    save_model(whole, paths.model)
    if report is None or part.parts is not None:
        log_comparison(comparison, min(len(result.samples), COMPARED_SAMPLES))
    if report is not None:
        log_report(report, write_report(report, paths))
    return whole


@dataclass(frozen=True)
class StaticResult:
    """What a static run made.

    Attributes
    ----------
    model : onnx_ir.Model
        The quantised model.
    reference : onnx_ir.Model
        The float model whose tensors it names: prepared, and equalised where that gained.
    plan, quantization
        What is int8, and with which parameters.
    sketches : dict of str to Sketch
        Of the observed tensors.
    samples : sequence of feeds
        At most 16 samples, one by one.
    calibration_samples : int
        Number of samples that chose the ranges.
    gains : tuple of StepGain
        What every step of refinement gained on samples held back from it.
    early_ranges : dict of str to (low, high)
        Extremes of the observed tensors after three quarters of the samples; empty when not known.
    """

    model: ir.Model
    reference: ir.Model
    plan: QuantPlan
    quantization: Quantization
    sketches: dict[str, Sketch]
    samples: Sequence[Feeds]
    calibration_samples: int
    gains: tuple[StepGain, ...] = ()
    early_ranges: dict[str, tuple[float, float]] = field(default_factory=dict)


def quantize_static(
    prepared: ir.Model,
    config: Config,
    store: Path,
    sketch_files: Sequence[Path] = (),
    masks: frozenset[str] = frozenset(),
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
        Sketches that ``xslim collect`` wrote, to be used instead of the store: every shard once.
    masks : frozenset of str
        Tensors that are known to hold infinities, and so stay float.
    isolated : Isolated, optional
        The process in which models run before they run in this one.

    Raises
    ------
    CrashError
        onnxruntime dies of the model.
    ModelError
        No operator of the model can be int8 under this configuration.
    DataError
        The calibration data are wrong.
    """
    if sketch_files:
        agreed = found_masks(sketch_files)
        if agreed is None:
            logger.warning("the shards found different tensors that hold infinities: calibrating anew")
            return quantize_static(prepared, config, store, isolated=isolated)
        masks = agreed
    start = start_static(prepared, config, masks, isolated)
    model, data, refinement = start.model, start.data, start.refinement
    samples = list(islice(data.batches(1, workers=1), KEPT_SAMPLES))
    settings = replace(calibration_settings(config), store=None if sketch_files else store, masks=masks)
    collector = refinement.collector(model, start.plan) if refinement else None
    watching = [collector] if collector else []
    early_ranges: dict[str, tuple[float, float]] = {}
    if sketch_files:
        key = calibration_key(model, start.plan.observed, data)
        sketches = merge_shards(sketch_files, key, start.plan.observed)
        watch(model, start.plan.observed, data, settings, watching, start.exposed)
    else:
        stored = observe(model, start.plan.observed, data, settings, watching, start.exposed)
        sketches, early_ranges = stored.sketches, stored.early
    if further := further_masks(sketches):
        return quantize_static(prepared, config, store, masks=masks | further, isolated=isolated)
    plan = share_parameters(start.plan, sketches)
    found = Refined(model, plan, find_parameters(model, plan, sketches))
    if refinement and isolated:
        first = export_qdq(model, plan, found.quantization, start.target)
        isolated.session(first, threads=1, qdq_as_written=True).run(samples[0])
    refined = found
    if refinement and collector:
        rounded = refinement.round(refinement.widen(found, sketches), collector)
        refined = refinement.reconstruct(refinement.follow(rounded, model), model)
    quantization = refined.quantization
    everywhere = config.quantization_parameters.bias_type == "int32"
    quantization = integer_biases(refined.model, plan, quantization, start.target, everywhere=everywhere)
    exported = export_qdq(refined.model, plan, quantization, start.target)
    gains = tuple(refinement.gains) if refinement else ()
    return StaticResult(
        exported, model, plan, quantization, sketches, samples, len(data), gains, early_ranges
    )


@dataclass(frozen=True)
class _Quantised:
    """A quantised model, and what it was made of."""

    part: FirstPart
    result: StaticResult
    whole: ir.Model

    def compare(
        self, original: bytes | Path, paths: OutputPaths, isolated: Isolated, *, fully_optimised: bool = False
    ) -> list[OutputComparison]:
        """Check the result and compare it with the float model, unless a part behind a cut cannot be run."""
        samples = self.result.samples[:COMPARED_SAMPLES]
        with serialised(self.whole, paths.model) as quantized:
            if unknown := unknown_operators(self.whole):
                require_valid(quantized, original, "quantised")
                logger.warning(
                    "onnxruntime has no operator %s: the result is neither run nor compared", unknown[0]
                )
                return []
            return compare_outputs(original, quantized, samples, isolated, fully_optimised=fully_optimised)


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


def _analyse(original: ir.Model, result: StaticResult, config: Config, paths: OutputPaths) -> Report:
    """Compare what a static run made with the float model, tensor by tensor.

    Raises
    ------
    InternalError
        One of the models does not run.
    """
    from xslim import __version__

    logger.info("comparing with the float model, tensor by tensor")
    return analyse(
        Subject(
            name=paths.prefix,
            version=__version__,
            original=original,
            reference=result.reference,
            exported=result.model,
            plan=result.plan,
            quantization=result.quantization,
            sketches=result.sketches,
            samples=result.samples,
            calibration_samples=result.calibration_samples,
            config=config,
            early_ranges=result.early_ranges,
            steps=result.gains,
        )
    )
