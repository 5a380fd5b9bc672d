"""Static int8: plan, calibrate, search, refine, export."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import onnx_ir as ir

from xslim.calibration.collectors import ChannelMeans
from xslim.calibration.data import CalibrationData
from xslim.calibration.fingerprint import calibration_key
from xslim.calibration.merge import merge_shards
from xslim.calibration.observe import Settings, observe, watch
from xslim.config import Config
from xslim.errors import ModelError
from xslim.export.qdq import export_qdq
from xslim.graph.inputs import input_specs
from xslim.graph.scheme import Quantization, QuantPlan
from xslim.kernels import Sketch
from xslim.quantization.bias_correction import correct_biases, inputs_to_average
from xslim.quantization.integer_bias import integer_biases
from xslim.quantization.parameters import find_parameters
from xslim.quantization.plan import make_plan
from xslim.quantization.rules import rules_from
from xslim.quantization.sharing import share_parameters
from xslim.runtime import Feeds
from xslim.targets import Target, load_target

logger = logging.getLogger(__name__)

COMPARED_SAMPLES = 8


@dataclass(frozen=True)
class StaticResult:
    """What a static run made."""

    model: ir.Model
    plan: QuantPlan
    quantization: Quantization
    sketches: dict[str, Sketch]
    samples: Sequence[Feeds]


def quantize_static(
    prepared: ir.Model, config: Config, store: Path, sketch_files: Sequence[Path] = ()
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

    Raises
    ------
    ModelError
        No operator of the model can be int8 under this configuration.
    DataError
        The calibration data are wrong.
    """
    target = load_target(config.quantization_parameters.target)
    plan, data = plan_static(prepared, config)
    samples = list(islice(data.batches(1, workers=1), COMPARED_SAMPLES))
    finetune = config.quantization_parameters.finetune_level > 0
    averages = ChannelMeans(inputs_to_average(prepared, plan, target) if finetune else {})
    settings = replace(calibration_settings(config), store=None if sketch_files else store)
    exposed = exposed_tensors(prepared, plan, target)
    if sketch_files:
        sketches = merge_shards(sketch_files, calibration_key(prepared, plan.observed, data))
        watch(prepared, plan.observed, data, settings, [averages], exposed)
    else:
        sketches = observe(prepared, plan.observed, data, settings, [averages], exposed).sketches
    plan = share_parameters(plan, sketches)
    quantization = find_parameters(prepared, plan, sketches)
    refined = correct_biases(prepared, plan, quantization, averages.means(), target) if finetune else prepared
    if config.quantization_parameters.bias_type == "int32":
        quantization = integer_biases(refined, plan, quantization, target)
    exported = export_qdq(refined, plan, quantization, target)
    return StaticResult(exported, plan, quantization, sketches, samples)


def plan_static(prepared: ir.Model, config: Config) -> tuple[QuantPlan, CalibrationData]:
    """Make the plan of a static run and open its calibration data, before anything runs.

    Raises
    ------
    ModelError
        No operator of the model can be int8 under this configuration.
    DataError
        The calibration data are wrong.
    """
    plan = _plan(prepared, config, load_target(config.quantization_parameters.target))
    return plan, CalibrationData(input_specs(prepared), config.calibration_parameters, config.base_dir)


def exposed_tensors(prepared: ir.Model, plan: QuantPlan, target: Target) -> Sequence[str]:
    """What refinement may read beside the sketches, at any finetune level."""
    return list(inputs_to_average(prepared, plan, target))


def calibration_settings(config: Config) -> Settings:
    """How the configuration wants the samples to be run."""
    calibration = config.calibration_parameters
    return Settings(
        batch_size=calibration.calibration_batch_size,
        device=calibration.calibration_device,
        memory_mb=calibration.calibration_memory_mb,
    )


def _plan(prepared: ir.Model, config: Config, target: Target) -> QuantPlan:
    plan = make_plan(prepared, target, rules_from(config))
    count = len(plan.int8_operators)
    if count == 0:
        reasons = sorted({f"{operator.op_type}: {operator.reason}" for operator in plan.operators})
        raise ModelError(
            "no operator of the model can be quantised",
            hint="; ".join(reasons[:5]) or "the model has no operators",
        )
    logger.info("%d of %d operators are int8", count, len(plan.operators))
    return plan
