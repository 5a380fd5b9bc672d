"""The public function: from a configuration to a quantised model on disk."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from xslim.config import Config, load_config, refuse_unavailable, resolve_path
from xslim.errors import ConfigError, ModelError
from xslim.export.verify import OutputComparison, compare_outputs
from xslim.graph.io import load_model, save_model, to_proto
from xslim.passes import prepare
from xslim.pipeline.paths import OutputPaths, output_paths, prepare_folder
from xslim.pipeline.static import quantize_static
from xslim.pipeline.summary import log_comparison

logger = logging.getLogger(__name__)

SLIM_ONLY = 100
QDQ_OPERATORS = ("QuantizeLinear", "DequantizeLinear")


def quantize_onnx_model(
    config_or_path: dict[str, Any] | str | Path | Config,
    model_or_path: onnx.ModelProto | str | Path | None = None,
    output_path: str | Path | None = None,
) -> onnx.ModelProto:
    """Quantise an ONNX model as a configuration says, and write the result.

    Parameters
    ----------
    config_or_path : dict, str, Path or Config
        The configuration, or the path of its JSON file.
    model_or_path : onnx.ModelProto, str or Path, optional
        The model; by default ``model_parameters.onnx_model`` of the configuration.
    output_path : str or Path, optional
        A ``.onnx`` file or a folder; by default ``<working_dir>/<output_prefix>.onnx``.

    Returns
    -------
    onnx.ModelProto
        The model that was written.

    Raises
    ------
    XSlimError
        Bad input (`ConfigError`, `DataError`, `ModelError`, `OutputError`) before anything is written, or
        an `InternalError` when the result does not pass its checks. Nothing half-written is left behind.
    """
    started = time.monotonic()
    config = load_config(config_or_path)
    refuse_unavailable(config)
    source = _source(config, model_or_path)
    paths = output_paths(
        config, source if isinstance(source, Path) else None, output_path, model_or_path is not None
    )
    model = load_model(source)
    _refuse_quantized(model)
    prepare_folder(paths)
    result, comparison = _convert(model, config, paths)
    save_model(result, paths.model)
    log_comparison(comparison)
    logger.info("wrote %s in %.1f s", paths.model, time.monotonic() - started)
    return to_proto(result)


def _convert(model: ir.Model, config: Config, paths: OutputPaths) -> tuple[ir.Model, list[OutputComparison]]:
    parameters = config.model_parameters
    original = to_proto(model).SerializeToString()
    prepared = prepare(model, skip_slim=parameters.skip_onnxsim, opset=parameters.opset)
    if config.quantization_parameters.precision_level == SLIM_ONLY:
        return prepared, []
    result = quantize_static(prepared, config, paths)
    return result.model, compare_outputs(original, to_proto(result.model), result.samples)


def _source(config: Config, model_or_path: onnx.ModelProto | str | Path | None) -> Path | onnx.ModelProto:
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


def _refuse_quantized(model: ir.Model) -> None:
    names = [node.name or node.op_type for node in model.graph.all_nodes() if node.op_type in QDQ_OPERATORS]
    if names:
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        raise ModelError(f"the model is quantised already: {shown}", hint="give the float model")
