"""Static int8: plan, calibrate, search, refine, export."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path

import onnx_ir as ir

from xslim.calibration.data import CalibrationData
from xslim.calibration.fingerprint import calibration_key
from xslim.calibration.merge import found_masks, merge_shards
from xslim.calibration.observe import Settings, observe, watch
from xslim.config import Config
from xslim.errors import ModelError
from xslim.export.qdq import export_qdq
from xslim.graph.gains import StepGain
from xslim.graph.inputs import input_specs
from xslim.graph.outputs import with_outputs
from xslim.graph.scheme import Quantization, QuantPlan
from xslim.kernels import Sketch
from xslim.pipeline.progress import track
from xslim.quantization.integer_bias import integer_biases
from xslim.quantization.parameters import find_parameters
from xslim.quantization.plan import make_plan
from xslim.quantization.protected import seen_masks
from xslim.quantization.rounding import layers_to_round
from xslim.quantization.rules import Rules, rules_from
from xslim.quantization.sharing import share_parameters
from xslim.refinement.steps import Refined, Refinement
from xslim.runtime import Feeds, Isolated, require_runnable
from xslim.targets import Target, load_target

logger = logging.getLogger(__name__)

KEPT_SAMPLES = 16


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
class Start:
    """What is settled before the calibration pass.

    Attributes
    ----------
    model : onnx_ir.Model
        The float model that calibration runs: prepared, and equalised where that gains.
    plan : QuantPlan
        The plan of that model.
    data : CalibrationData
        The samples.
    target : Target
        The operator table.
    refinement : Refinement or None
        What improves the result; None at finetune level 0.
    exposed : tuple of str
        What refinement reads beside the sketches, at any level: all runs see the same values.
    """

    model: ir.Model
    plan: QuantPlan
    data: CalibrationData
    target: Target
    refinement: Refinement | None
    exposed: tuple[str, ...]


def start_static(
    prepared: ir.Model,
    config: Config,
    masks: frozenset[str] = frozenset(),
    isolated: Isolated | None = None,
) -> Start:
    """Plan a static run and equalise its model, which first runs once in a process of its own.

    Parameters and errors are those of `plan_static` and `quantize_static`.
    """
    plan, data = plan_static(prepared, config, masks)
    if isolated:
        visible = list(dict.fromkeys([*_exposed(prepared, plan), *plan.observed]))
        session = isolated.session(with_outputs(prepared, visible), visible[:1], threads=1)
        session.run(next(iter(data.batches(1, workers=1))))
    target = load_target(config.quantization_parameters.target)
    level = config.quantization_parameters.finetune_level
    if level == 0:
        return Start(prepared, plan, data, target, None, _exposed(prepared, plan))
    settings = calibration_settings(config)
    rules = replace(rules_from(config), masks=masks)
    planner = partial(make_plan, target=target, rules=rules, mention=False)
    refinement = Refinement(prepared, data, settings, planner, target, level)
    model, plan = refinement.equalize(prepared, plan)
    return Start(model, plan, data, target, refinement, _exposed(model, plan))


def further_masks(sketches: Mapping[str, Sketch]) -> frozenset[str]:
    """Return the tensors that hold infinities, for which a run is planned once more."""
    found = seen_masks(sketches)
    if found:
        names = ", ".join(sorted(found))
        logger.warning("planning again, as these tensors hold infinities and so stay float: %s", names)
    return found


def _exposed(model: ir.Model, plan: QuantPlan) -> tuple[str, ...]:
    return tuple(dict.fromkeys(layer.vectors.source for _, layer in layers_to_round(model, plan)))


def plan_static(
    prepared: ir.Model, config: Config, masks: frozenset[str] = frozenset()
) -> tuple[QuantPlan, CalibrationData]:
    """Make the plan of a static run and open its calibration data, before anything runs.

    `masks` names tensors that are known to hold infinities.

    Raises
    ------
    ModelError
        No operator of the model can be int8 under this configuration, or onnxruntime lacks one of them.
    DataError
        The calibration data are wrong.
    """
    require_runnable(prepared)
    rules = replace(rules_from(config), masks=masks)
    plan = _plan(prepared, rules, load_target(config.quantization_parameters.target))
    return plan, CalibrationData(input_specs(prepared), config.calibration_parameters, config.base_dir)


def calibration_settings(config: Config) -> Settings:
    """How the configuration wants the samples to be run."""
    calibration = config.calibration_parameters
    return Settings(
        batch_size=calibration.calibration_batch_size,
        device=calibration.calibration_device,
        memory_mb=calibration.calibration_memory_mb,
        track=track,
    )


def _plan(prepared: ir.Model, rules: Rules, target: Target) -> QuantPlan:
    plan = make_plan(prepared, target, rules, mention=not rules.masks)
    count = len(plan.int8_operators)
    if count == 0:
        reasons = sorted({f"{operator.op_type}: {operator.reason}" for operator in plan.operators})
        raise ModelError(
            "no operator of the model can be quantised",
            hint="; ".join(reasons[:5]) or "the model has no operators",
        )
    logger.info("%d of %d operators are int8", count, len(plan.operators))
    return plan
