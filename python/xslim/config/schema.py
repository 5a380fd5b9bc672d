"""The JSON Schema of the configuration, for editors and other programs."""

from __future__ import annotations

from typing import Any

from xslim.config.model import Config


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a configuration file.

    Returns
    -------
    dict
        Accepts every documented field; `input_parametres` and `input_parameters` are the same list.
    """
    content = Config.model_json_schema()
    calibration = content["$defs"]["CalibrationParameters"]["properties"]
    calibration["input_parameters"] = calibration["input_parametres"]
    for section in (content, *content["$defs"].values()):
        section["patternProperties"] = {"^(_|//)": True}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **content,
        "title": "XSlim configuration",
    }
