"""The JSON Schema accepts what the loader accepts, as far as a schema can say it."""

from __future__ import annotations

from typing import Any

from tests.config.test_load import VALID
from xslim.config import schema


def _resolve(content: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    return root["$defs"][content["$ref"].rpartition("/")[2]] if "$ref" in content else content


def _object(content: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    choices = [_resolve(choice, root) for choice in content.get("anyOf", [content])]
    return next(choice for choice in choices if choice.get("type") in {"object", "array"})


def _walk(value: Any, content: dict[str, Any], root: dict[str, Any]) -> None:
    if isinstance(value, dict):
        node = _object(content, root)
        assert node["additionalProperties"] is False
        for key, item in value.items():
            _walk(item, node["properties"][key], root)
    elif isinstance(value, list):
        for item in value:
            _walk(item, _object(content, root)["items"], root)


def test_every_field_is_in_the_schema_and_nothing_else_is_allowed() -> None:
    content = schema()
    _walk(VALID, content, content)


def test_both_spellings_are_in_the_schema() -> None:
    calibration = schema()["$defs"]["CalibrationParameters"]["properties"]
    assert calibration["input_parameters"] == calibration["input_parametres"]


def test_every_field_is_described() -> None:
    for name, section in schema()["$defs"].items():
        for field, content in section["properties"].items():
            assert content.get("description"), f"{name}.{field}"


def test_values_and_ranges_are_in_the_schema() -> None:
    sections = schema()["$defs"]
    quantization = sections["QuantizationParameters"]["properties"]
    assert quantization["precision_level"]["enum"] == [0, 1, 2, 3, 4, 100]
    assert quantization["max_percentile"]["minimum"] == 0.99
    calibration = sections["CalibrationParameters"]["properties"]
    assert calibration["calibration_type"]["enum"] == ["default", "kl", "minmax", "percentile", "mse"]
    assert calibration["calibration_step"]["minimum"] == 1
    assert "required" not in sections["InputParameters"]
