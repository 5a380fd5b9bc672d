"""Configurations of samples from memory: their temporary files must not be named where the run has ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xslim.files import is_scratch

INPUTS = ("input_parameters", "input_parametres")


def without_spooled(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sections of a configuration without entries of inputs and folders that are temporary."""
    found = dict(fields)
    calibration, model = found.get("calibration_parameters"), found.get("model_parameters")
    if isinstance(calibration, Mapping):
        found["calibration_parameters"] = {
            name: value
            for name, value in calibration.items()
            if name not in INPUTS or not any(_is_spooled(entry.get("data_list_path")) for entry in value)
        }
    if isinstance(model, Mapping):
        found["model_parameters"] = {
            name: value for name, value in model.items() if name != "working_dir" or not _is_spooled(value)
        }
    return found


def _is_spooled(path: object) -> bool:
    return isinstance(path, str) and is_scratch(Path(path))
