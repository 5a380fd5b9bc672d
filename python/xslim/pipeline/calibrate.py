"""What a static run settles before calibration: the plan, the samples, the equalised model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import onnx_ir as ir

from xslim.calibration.data import CalibrationData
from xslim.calibration.observe import Settings
from xslim.config import Config
from xslim.errors import ModelError
from xslim.graph.inputs import input_specs
from xslim.graph.outputs import with_outputs
from xslim.graph.scheme import QuantPlan
from xslim.kernels import Sketch
from xslim.pipeline.progress import track
from xslim.quantization.plan import make_plan
from xslim.quantization.protected import seen_masks
from xslim.quantization.rounding import layers_to_round
from xslim.quantization.rules import Rules, rules_from
from xslim.refinement.steps import Refinement
from xslim.runtime import Isolated, require_runnable
from xslim.targets import Target, load_target

logger = logging.getLogger(__name__)


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


def further_masks(sketches: Mapping[str, Sketch]) -> frozenset[str]:
    """Return the tensors that hold infinities, for which a run is planned once more."""
    found = seen_masks(sketches)
    if found:
        names = ", ".join(sorted(found))
        logger.warning("planning again, as these tensors hold infinities and so stay float: %s", names)
    return found


def calibration_settings(config: Config) -> Settings:
    """How the configuration wants the samples to be run."""
    calibration = config.calibration_parameters
    return Settings(
        batch_size=calibration.calibration_batch_size,
        device=calibration.calibration_device,
        memory_mb=calibration.calibration_memory_mb,
        track=track,
    )
