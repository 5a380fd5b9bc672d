"""A configuration whose paths are absolute, so that it means the same wherever it lies."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xslim.config.fields import is_table_path
from xslim.config.load import as_written
from xslim.config.model import Config
from xslim.config.paths import resolve_path


def portable(config: Config, base: Path | None = None) -> dict[str, Any]:
    """Return the fields of a configuration that were given, with absolute paths.

    Relative paths start at `base`, by default the folder of the configuration's file.
    """
    raw, base = as_written(config), base or config.base_dir
    model = dict(raw.get("model_parameters", {}))
    for name in ("onnx_model", "working_dir"):
        if isinstance(model.get(name), str):
            # The folder of the outputs may not exist yet: it is relative to the current folder.
            model[name] = str(resolve_path(model[name], base if name == "onnx_model" else None))
    quantization = dict(raw.get("quantization_parameters", {}))
    if is_table_path(config.quantization_parameters.target):
        quantization["target"] = str(resolve_path(config.quantization_parameters.target, base))
    calibration = dict(raw.get("calibration_parameters", {}))
    name = config.calibration_parameters.inputs_name
    if name in calibration:
        calibration[name] = [_entry(entry, base) for entry in calibration[name]]
    sections = {
        "model_parameters": model,
        "calibration_parameters": calibration,
        "quantization_parameters": quantization,
    }
    return {key: fields for key, fields in sections.items() if fields}


def _entry(entry: Mapping[str, Any], base: Path | None) -> dict[str, Any]:
    found = dict(entry)
    if isinstance(entry.get("data_list_path"), str):
        found["data_list_path"] = str(resolve_path(entry["data_list_path"], base))
    function = entry.get("preprocess_file")
    if isinstance(function, str) and ":" in function:
        file, _, name = function.rpartition(":")
        found["preprocess_file"] = f"{resolve_path(file, base)}:{name}"
    return found
