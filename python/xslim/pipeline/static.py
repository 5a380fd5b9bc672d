"""Static int8: plan, calibrate, search, refine, export."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import islice

import onnx_ir as ir
from xslim.calibration.data import CalibrationData
from xslim.graph.inputs import input_specs

from xslim.calibration.runner import Statistics, collect
from xslim.config import Config
from xslim.errors import ModelError
from xslim.export.qdq import export_qdq
from xslim.graph.scheme import Quantization, QuantPlan
from xslim.quantization.bias_correction import correct_biases, inputs_to_average
from xslim.quantization.operators import Rules
from xslim.quantization.parameters import find_parameters
from xslim.quantization.plan import Method, make_plan
from xslim.runtime import Feeds, thread_count
from xslim.targets import Target, load_target

logger = logging.getLogger(__name__)

COMPARED_SAMPLES = 8


@dataclass(frozen=True)
class StaticResult:
    """What a static run made."""

    model: ir.Model
    plan: QuantPlan
    quantization: Quantization
    statistics: Statistics
    samples: list[Feeds]


def quantize_static(prepared: ir.Model, config: Config) -> StaticResult:
    """Quantise a prepared model with calibration data.

    Raises
    ------
    ModelError
        No operator of the model can be int8 under this configuration.
    DataError
        The calibration data are wrong.
    """
    target = load_target()
    plan = _plan(prepared, config, target)
    data = CalibrationData(input_specs(prepared), config.calibration_parameters, config.base_dir)
    samples = list(islice(data.batches(1, workers=1), COMPARED_SAMPLES))
    finetune = config.quantization_parameters.finetune_level
    averages = inputs_to_average(prepared, plan, target) if finetune > 0 else {}
    statistics = _collect(prepared, plan, averages, data, config)
    quantization = find_parameters(prepared, plan, statistics.sketches)
    refined = prepared
    if finetune > 0:
        refined = correct_biases(prepared, plan, quantization, statistics.channel_means, target)
    exported = export_qdq(refined, plan, quantization, target)
    return StaticResult(exported, plan, quantization, statistics, samples)


def _plan(prepared: ir.Model, config: Config, target: Target) -> QuantPlan:
    wanted = config.quantization_parameters
    rules = Rules(wanted.precision_level, wanted.ignore_op_types, wanted.ignore_op_names)
    method = Method(config.calibration_parameters.calibration_type, wanted.max_percentile)
    plan = make_plan(prepared, target, rules, method)
    count = len(plan.int8_operators)
    if count == 0:
        reasons = sorted({f"{operator.op_type}: {operator.reason}" for operator in plan.operators})
        raise ModelError(
            "no operator of the model can be quantised",
            hint="; ".join(reasons[:5]) or "the model has no operators",
        )
    logger.info("%d of %d operators are int8", count, len(plan.operators))
    return plan


def _collect(
    prepared: ir.Model, plan: QuantPlan, averages: dict[str, int], data: CalibrationData, config: Config
) -> Statistics:
    calibration = config.calibration_parameters
    batches = data.batches(calibration.calibration_batch_size, workers=thread_count())
    logger.info("calibrating with %d samples", len(data))
    return collect(prepared, plan, averages, batches, calibration.calibration_device)
