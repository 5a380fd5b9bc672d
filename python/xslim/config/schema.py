"""The JSON Schema of the configuration, for editors and other programs."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from typing import Any

from xslim.config import model


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a configuration file.

    Returns
    -------
    dict
        Accepts every documented field; `input_parametres` and `input_parameters` are the same list.
    """
    content = model.Config.model_json_schema()
    calibration = content["$defs"]["CalibrationParameters"]["properties"]
    calibration["input_parameters"] = calibration["input_parametres"]
    for name, section in content["$defs"].items():
        for field, text in _docstrings(getattr(model, name)).items():
            section["properties"][field]["description"] = text
    for section in (content, *content["$defs"].values()):
        section["patternProperties"] = {"^(_|//)": True}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **content,
        "title": "XSlim configuration",
    }


def _docstrings(section: type) -> dict[str, str]:
    """Return the docstring below each field of a section, from its source."""
    try:
        (definition,) = ast.parse(inspect.getsource(section)).body
    except OSError:
        # An installation without sources has a schema without descriptions.
        return {}
    assert isinstance(definition, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }
