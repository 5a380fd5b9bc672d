"""Calibrate a prepared model: plan, equalise, collect, plan again if masks were found, search parameters."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import onnx_ir as ir

from xslim.calibration.data import CalibrationData
from xslim.calibration.fingerprint import calibration_key
from xslim.calibration.grams import GramCollector
from xslim.calibration.merge import found_masks, merge_shards
from xslim.calibration.observe import Settings, observe, watch
from xslim.calibration.repeats import are_equal
from xslim.calibration.unseen import divide
from xslim.calibration.whiteness import looks_like_noise
from xslim.config import Config
from xslim.errors import ModelError
from xslim.graph.inputs import input_specs
from xslim.graph.outputs import with_outputs
from xslim.graph.scheme import QuantPlan
from xslim.graph.spreads import ChannelSpread
from xslim.kernels import Sketch
from xslim.pipeline.progress import track
from xslim.quantization.fills import far_fills
from xslim.quantization.heads import mixed_heads
from xslim.quantization.parameters import find_parameters
from xslim.quantization.plan import make_plan
from xslim.quantization.protected import seen_masks
from xslim.quantization.rounding import layers_to_round
from xslim.quantization.rules import Rules, rules_from
from xslim.quantization.sharing import share_parameters
from xslim.refinement.candidate import Candidate, Material, Planner
from xslim.refinement.rounding import gram_collector, with_grams
from xslim.refinement.steps import Stage, refine
from xslim.runtime import Feeds, Isolated, device_in_use, require_runnable
from xslim.targets import Target, target_of

logger = logging.getLogger(__name__)

KEPT_SAMPLES = 16

FEW_COPIES = 0.1
"""A share of copies among the samples that is not worth a warning (set by hand)."""


@dataclass(frozen=True)
class Start:
    """The state before the calibration pass.

    Attributes
    ----------
    candidate : Candidate
        The float model that calibration runs, prepared and perhaps equalised, and its plan.
    data : CalibrationData
        The samples.
    unseen : list of feeds
        Samples that calibration does not use, for the comparison at the end.
    target : Target
        The operator table.
    material : Material or None
        The material of refinement; None at finetune level 0.
    planner : callable
        Makes the plan of a model; the mapping names further tensors that stay float.
    exposed : tuple of str
        Tensors that refinement reads besides the sketched ones. They are outputs of the session at every
        level, so that all runs compute the same values.
    """

    candidate: Candidate
    data: CalibrationData
    unseen: list[Feeds]
    target: Target
    material: Material | None
    planner: Planner
    exposed: tuple[str, ...]


@dataclass(frozen=True)
class Calibrated:
    """The results of calibration.

    Attributes
    ----------
    candidate : Candidate
        The float model, its plan and the parameters that the search found.
    target : Target
        The operator table.
    material : Material or None
        What refinement works with; None at finetune level 0.
    sketches : dict of str to Sketch
        Sketches of the observed tensors.
    samples : sequence of feeds
        At most 16 samples, or those of ``comparison_samples``, one by one.
    unseen : int
        Number of the first samples among these that calibration has not seen.
    calibration_samples : int
        Number of samples that the ranges were calibrated on.
    early_ranges : dict of str to (low, high)
        Extremes of the observed tensors after three quarters of the samples; empty if unknown.
    spreads : sequence of ChannelSpread
        The tensors whose channels differ most; empty if refinement has not looked at channels.
    """

    candidate: Candidate
    target: Target
    material: Material | None
    sketches: dict[str, Sketch]
    samples: Sequence[Feeds]
    unseen: int
    calibration_samples: int
    early_ranges: dict[str, tuple[float, float]]
    spreads: Sequence[ChannelSpread] = ()


@dataclass(frozen=True)
class _Collected:
    """The results of one pass over the samples."""

    sketches: dict[str, Sketch]
    early_ranges: dict[str, tuple[float, float]]
    grams: GramCollector | None


def calibrate(
    prepared: ir.Model,
    config: Config,
    store: Path,
    sketch_files: Sequence[Path] = (),
    isolated: Isolated | None = None,
) -> Calibrated:
    """Plan, collect and search; if tensors turn out to hold infinities, do so again and keep these float.

    Parameters and errors are those of `quantize_static`.
    """
    masks: frozenset[str] = frozenset()
    if sketch_files:
        agreed = found_masks(sketch_files)
        if agreed is None:
            logger.warning("the shards found different tensors that hold infinities: calibrating anew")
            sketch_files = ()
        masks = agreed or masks
    while True:
        start = start_static(prepared, config, masks, isolated)
        seen = islice(start.data.batches(1, workers=1), max(0, KEPT_SAMPLES - len(start.unseen)))
        samples = [*start.unseen, *seen]
        settings = replace(calibration_settings(config), store=None if sketch_files else store, masks=masks)
        collected = _collect(start, settings, sketch_files)
        further = further_masks(collected.sketches)
        if not further:
            warn_about_noise(samples)
            unseen = 0 if are_repeated(samples) else len(start.unseen)
            return _search(start, collected, samples, unseen)
        masks, sketch_files = masks | further, ()


def start_static(
    prepared: ir.Model,
    config: Config,
    masks: frozenset[str] = frozenset(),
    isolated: Isolated | None = None,
) -> Start:
    """Plan a static run, run its model once in a child process, and equalise the model.

    Parameters and errors are those of `plan_static` and `quantize_static`.
    """
    plan, given = plan_static(prepared, config, masks)
    settings = calibration_settings(config)
    if settings.device != config.calibration_parameters.calibration_device and not masks:
        logger.info("calibration_device is cuda, but the installed onnxruntime has none: using the CPU")
    divided = divide(given, config.calibration_parameters.comparison_samples)
    if not masks and divided.distinct.runs > 1:
        warn_about_copies(divided.copies, len(given))
    data = divided.seen
    if isolated:
        visible = list(dict.fromkeys([*_exposed(prepared, plan), *plan.observed]))
        isolated.session(with_outputs(prepared, visible), visible[:1], threads=1).run(
            next(iter(data.batches(1, workers=1)))
        )
        isolated.give_back()
    target = target_of(config)
    wanted = config.quantization_parameters
    level = wanted.finetune_level
    # Equalisation does not know the tensors that the configuration wants float, see `keep_listed`.
    listed = wanted.float_tensors if level == 0 else ()
    rules = replace(rules_from(config), masks=masks, float_tensors=listed)

    def planner(model: ir.Model, kept_float: Mapping[str, str]) -> QuantPlan:
        return make_plan(model, target, replace(rules, kept_float=kept_float), mention=False)

    if level == 0:
        exposed = _exposed(prepared, plan)
        return Start(Candidate(prepared, plan), data, divided.unseen, target, None, planner, exposed)
    material = replace(
        Material.of(prepared, divided.distinct, settings, planner, target, level, wanted.max_float_share),
        float_tensors=wanted.float_tensors,
    )
    start = Candidate(prepared, planner(prepared, {}))
    candidate = refine(start, material, Stage.BEFORE_CALIBRATION)
    exposed = _exposed(candidate.model, candidate.plan)
    return Start(candidate, data, divided.unseen, target, material, planner, exposed)


def _exposed(model: ir.Model, plan: QuantPlan) -> tuple[str, ...]:
    return tuple(dict.fromkeys(layer.vectors.source for _, layer in layers_to_round(model, plan)))


def plan_static(
    prepared: ir.Model, config: Config, masks: frozenset[str] = frozenset()
) -> tuple[QuantPlan, CalibrationData]:
    """Make the plan of a static run and open its calibration data without running the model.

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
    plan = _plan(prepared, rules, target_of(config))
    return plan, CalibrationData(input_specs(prepared), config.calibration_parameters, config.base_dir)


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


def _collect(start: Start, settings: Settings, sketch_files: Sequence[Path]) -> _Collected:
    """Observe the planned tensors, or merge given sketches, and collect the data that refinement needs."""
    model, plan, data = start.candidate.model, start.candidate.plan, start.data
    grams = gram_collector(model, plan, start.material) if start.material else None
    watching = [grams] if grams else []
    if sketch_files:
        key = calibration_key(model, plan.observed, data)
        sketches = merge_shards(sketch_files, key, plan.observed)
        watch(model, plan.observed, data, settings, watching, start.exposed)
        return _Collected(sketches, {}, grams)
    stored = observe(model, plan.observed, data, settings, watching, start.exposed)
    return _Collected(stored.sketches, stored.early, grams)


def _search(start: Start, collected: _Collected, samples: Sequence[Feeds], unseen: int) -> Calibrated:
    """Search the parameters of every group, and add the collected data to the material of refinement.

    Calibration has not seen the first `unseen` samples.
    """
    model, sketches, material = start.candidate.model, collected.sketches, start.material
    plan = share_parameters(_without_far_ranges(start, sketches), sketches)
    candidate = replace(start.candidate, plan=plan, quantization=find_parameters(model, plan, sketches))
    if material and collected.grams:
        material = with_grams(replace(material, reference=model, sketches=sketches), plan, collected.grams)
    return Calibrated(
        candidate=candidate,
        target=start.target,
        material=material,
        sketches=sketches,
        samples=samples,
        unseen=unseen,
        calibration_samples=len(start.data),
        early_ranges=collected.early_ranges,
        spreads=_spreads(start),
    )


def _without_far_ranges(start: Start, sketches: Mapping[str, Sketch]) -> QuantPlan:
    """Return the plan in which no tensor shares its parameters with one of far wider range.

    Heads that join results of different scale are float, and so is data with a far constant around it.
    """
    candidate = start.candidate
    mixed = mixed_heads(candidate.model.graph, candidate.plan, sketches)
    far = far_fills(candidate.model.graph, candidate.plan, sketches)
    if not (mixed or far):
        return candidate.plan
    plan = start.planner(candidate.model, {**candidate.kept_float, **mixed, **far})
    if any(name not in sketches for name in plan.observed):
        # Another plan may need tensors that were not observed; the report then advises what to do.
        return candidate.plan
    for reason in islice(mixed.values(), 1):
        logger.info("a head stays float: %s", reason)
    for name, reason in far.items():
        logger.info("the padded tensor %s stays float: %s", name, reason)
    return plan


def _spreads(start: Start) -> Sequence[ChannelSpread]:
    found, material = start.candidate, start.material
    if material is None or not material.judge.can_judge:
        return ()
    return material.trials.spreads(found.trial)


def further_masks(sketches: Mapping[str, Sketch]) -> frozenset[str]:
    """Return the tensors that hold infinities; if there are any, the run is planned again."""
    found = seen_masks(sketches)
    if found:
        names = ", ".join(sorted(found))
        logger.warning("planning again, as these tensors hold infinities and so stay float: %s", names)
    return found


def warn_about_noise(samples: Sequence[Feeds]) -> None:
    """Warn if an input holds white noise, on which every figure flatters."""
    for name in samples[0] if samples else ():
        if looks_like_noise(samples, name):
            logger.warning(
                "the samples of input %s look like white noise: ranges found with them do not fit real "
                "inputs, and the figures below hold for noise only. List files of real inputs",
                name,
            )


def are_repeated(samples: Sequence[Feeds]) -> bool:
    """Warn if all samples that are kept are equal; calibration has then seen those of the comparison, too."""
    if not are_equal(samples):
        return False
    logger.warning(
        "all %d samples that were looked at are equal: ranges found with one input do not fit others, "
        "and the figures below hold for this input only. List files of different inputs",
        len(samples),
    )
    return True


def warn_about_copies(copies: int, count: int) -> None:
    """Warn if many of the given samples equal others."""
    if copies > FEW_COPIES * count:
        logger.warning(
            "%d of %d samples are copies of others and add nothing: list every input once, and more inputs",
            copies,
            count,
        )


def calibration_settings(config: Config) -> Settings:
    """Return the settings of the configuration for running the samples."""
    calibration = config.calibration_parameters
    return Settings(
        batch_size=calibration.calibration_batch_size,
        device=device_in_use(calibration.calibration_device),
        memory_mb=calibration.calibration_memory_mb,
        track=track,
    )
