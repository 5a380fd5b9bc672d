"""Precision level 3: int8 weights, activations quantised at run time, no calibration."""

from __future__ import annotations

import logging

import onnx_ir as ir

from xslim.config import Config
from xslim.errors import ConfigError
from xslim.export.decisions import log_decisions
from xslim.export.dynamic import quantize_dynamically
from xslim.graph.io import release_weights
from xslim.graph.ops import opset
from xslim.passes.preparation import PER_CHANNEL_OPSET
from xslim.pipeline.cut import FirstPart
from xslim.pipeline.exclusions import kept_operators
from xslim.pipeline.finish import Output
from xslim.pipeline.prepare import prepare_model
from xslim.targets import target_of

logger = logging.getLogger(__name__)


def convert(model: ir.Model, config: Config, output: Output) -> ir.Model:
    """Prepare a float model, quantise it dynamically and write it.

    Raises
    ------
    ConfigError, ModelError
        A region or a cut of the configuration does not exist in the model, or the opset is too old.
    """
    prepared = prepare_model(model, config, output.original)
    if 0 < opset(prepared) < PER_CHANNEL_OPSET:
        raise ConfigError(
            f"scales per channel need opset {PER_CHANNEL_OPSET}, not {opset(prepared)}",
            where="model_parameters.opset",
            hint=f"choose {PER_CHANNEL_OPSET} or more",
        )
    release_weights(prepared)
    target = target_of(config)

    part = FirstPart.of(prepared, config)
    conversion = quantize_dynamically(part.model, target, kept_operators(part.model, config))
    log_decisions("dynamic int8", conversion.decisions)
    if not conversion.converted:
        logger.warning(
            "no operator of the main graph has weights that can be int8: the model is only slimmed"
        )
    return output.write(part.whole(conversion.model))
