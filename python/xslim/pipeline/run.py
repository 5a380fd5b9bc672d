"""The public function: from a configuration to a quantised model on disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from xslim.config import Config
from xslim.errors import ConfigError
from xslim.graph.io import PROTO_LIMIT_BYTES, to_proto, weight_bytes
from xslim.pipeline.inputs import load_protected
from xslim.pipeline.load import model_source, read_config
from xslim.pipeline.paths import output_paths, prepare_folder
from xslim.runtime import Isolated, thread_count

logger = logging.getLogger(__name__)

ConfigSource = dict[str, Any] | str | Path | Config
ModelArgument = onnx.ModelProto | str | Path


def quantize_onnx_model(
    config_or_path: ConfigSource | None = None,
    model_or_path: ModelArgument | None = None,
    output_path: str | Path | None = None,
    *,
    path_or_config: ConfigSource | None = None,
    input_onnx_model_or_path: ModelArgument | None = None,
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
    path_or_config, input_onnx_model_or_path : optional
        The names that the first two parameters have in XSlim 2.

    Returns
    -------
    onnx.ModelProto
        The model that was written. Weights beyond 2 GB stay in their file, to which it refers.

    Raises
    ------
    XSlimError
        Bad input (`ConfigError`, `DataError`, `ModelError`, `OutputError`) before anything is written, or
        an `InternalError` when the result does not pass its checks. Nothing half-written is left behind.
    """
    config: ConfigSource | None = _either("config_or_path", config_or_path, "path_or_config", path_or_config)
    if config is None:
        raise ConfigError(
            "no configuration is given", where="config_or_path", hint="give a dict or a JSON file"
        )
    model: ModelArgument | None = _either(
        "model_or_path", model_or_path, "input_onnx_model_or_path", input_onnx_model_or_path
    )
    result, path = _run(config, model, output_path)
    if weight_bytes(result) > PROTO_LIMIT_BYTES:
        return onnx.load(path, load_external_data=False)
    return to_proto(result)


def _either(name: str, value: Any, older_name: str, older: Any) -> Any:
    """Return the argument that was given, under whichever of its two names."""
    if value is not None and older is not None:
        raise ConfigError(f"{older_name} is another name of {name}", hint="give one of the two")
    return older if value is None else value


def quantize(
    config_or_path: ConfigSource,
    model_or_path: ModelArgument | None = None,
    output_path: str | Path | None = None,
    *,
    sketch_files: Sequence[str | Path] = (),
) -> ir.Model:
    """Do what `quantize_onnx_model` does, optionally from the sketch files of ``xslim collect``."""
    return _run(config_or_path, model_or_path, output_path, sketch_files)[0]


def _run(
    config_or_path: ConfigSource,
    model_or_path: ModelArgument | None,
    output_path: str | Path | None,
    sketch_files: Sequence[str | Path] = (),
) -> tuple[ir.Model, Path]:
    """Return the result and the file that holds it."""
    started = time.monotonic()
    config = read_config(config_or_path)
    # A wrong number of threads is an error before any work starts.
    thread_count()
    source = model_source(config, model_or_path)
    file = source if isinstance(source, Path) else None
    paths = output_paths(config, file, output_path, given=model_or_path is not None)
    sketches = [Path(name) for name in sketch_files]
    outputs = paths.files(config, sketches_given=bool(sketches))
    # The child imports onnxruntime while this process reads and prepares the model.
    with Isolated() as isolated:
        model = load_protected(config, source, [*outputs, *paths.reports(config)], sketches)
        prepare_folder(paths, outputs)
        # Imported when needed: each kind of run starts faster without what only the other needs.
        if config.is_static:
            from xslim.pipeline.static_run import run_static

            result = run_static(model, source, config, paths, sketches, isolated)
        else:
            from xslim.pipeline.convert import convert

            result = convert(model, config, source, paths, isolated)
    logger.info("wrote %s in %.1f s", paths.model, time.monotonic() - started)
    return result, paths.model
