"""The first steps of every run: configuration, float model, prepared model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from xslim.config import Config, PrecisionLevel, load_config, resolve_path
from xslim.errors import ConfigError, ModelError
from xslim.export.qdq import needed_opset
from xslim.graph.io import load_model
from xslim.passes import prepare
from xslim.passes.folding import infer_shapes
from xslim.passes.preparation import PER_CHANNEL_OPSET
from xslim.pipeline.weights import check_weights
from xslim.runtime import needs_onnxruntime, state_types
from xslim.targets import load_target

QDQ_OPERATORS = ("QuantizeLinear", "DequantizeLinear")
SHOWN_NAMES = 5

ModelSource = onnx.ModelProto | Path


def read_config(config_or_path: dict[str, Any] | str | Path | Config) -> Config:
    """Read a configuration; one that is read already is returned as it is.

    Raises
    ------
    ConfigError
    """
    return load_config(config_or_path)


def model_source(config: Config, model_or_path: onnx.ModelProto | str | Path | None) -> ModelSource:
    """Return the model in memory, or the path of the model that the caller or else the config names.

    Raises
    ------
    ConfigError
        Nobody names a model.
    """
    if isinstance(model_or_path, onnx.ModelProto):
        return model_or_path
    if model_or_path is not None:
        return Path(model_or_path)
    if config.model_parameters.onnx_model is None:
        raise ConfigError(
            "no model is given",
            where="model_parameters.onnx_model",
            hint="name the ONNX file there or with -i",
        )
    return resolve_path(config.model_parameters.onnx_model, config.base_dir)


def load_float_model(config: Config, model_or_path: onnx.ModelProto | str | Path | None) -> ir.Model:
    """Load the model and make sure that it is not quantised yet, unless it is only slimmed.

    Raises
    ------
    ModelError
        It cannot be read, or holds QuantizeLinear or DequantizeLinear.
    """
    model = load_model(model_source(config, model_or_path))
    if config.quantization_parameters.precision_level == PrecisionLevel.SLIM:
        return model
    names = [node.name or node.op_type for node in model.graph.all_nodes() if node.op_type in QDQ_OPERATORS]
    if names:
        more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
        shown = ", ".join(names[:SHOWN_NAMES])
        raise ModelError(f"the model is quantised already: {shown}{more}", hint="give the float model")
    return model


def prepare_model(
    model: ir.Model, config: Config, *, minimum_opset: int = PER_CHANNEL_OPSET, raise_opset: bool = True
) -> ir.Model:
    """Run the graph preparation that the configuration asks for; the tensors that it names survive.

    Without `raise_opset`, the opset is raised only where the result could not be written otherwise.

    Raises
    ------
    ModelError
        The opset cannot be converted, or a weight of a model for static int8 is NaN or infinite.
    """
    learn_types(model)
    parameters, wanted = config.model_parameters, config.quantization_parameters
    regions = wanted.custom_setting or ()
    named = [name for region in regions for name in (*region.input_names, *region.output_names)]
    target = load_target(wanted.target)
    prepared = prepare(
        model,
        skip_slim=parameters.skip_onnxsim,
        opset=parameters.opset,
        raise_opset_for=target.raises_opset_for if raise_opset else (),
        functions=parameters.functions,
        minimum_opset=max(minimum_opset, needed_opset(model)) if config.is_static else minimum_opset,
        keep=[*named, *wanted.truncate_var_names],
        unpack=wanted.precision_level.has_int8,
    )
    learn_types(prepared)
    check_weights(prepared, target, refuse=config.is_static)
    return prepared


def learn_types(model: ir.Model) -> None:
    """Give values types and shapes that onnx cannot infer, but onnxruntime can: behind its own operators."""
    if needs_onnxruntime(model):
        infer_shapes(model)
        state_types(model)
        infer_shapes(model)
