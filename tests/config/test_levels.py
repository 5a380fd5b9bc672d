"""Levels are numbers in configurations and enum members in the code."""

from __future__ import annotations

import json
from enum import IntEnum

import pytest

from xslim.config import Config, FinetuneLevel, PrecisionLevel, load_config, schema
from xslim.errors import ConfigError

FIELDS = {"precision_level": PrecisionLevel, "finetune_level": FinetuneLevel}
MEMBERS = [(field, level) for field, kind in FIELDS.items() for level in kind]


def configured(field: str, value: object) -> Config:
    entries = [{"data_list_path": "list.txt"}]
    return load_config(
        {
            "calibration_parameters": {"input_parameters": entries},
            "quantization_parameters": {field: value},
        }
    )


@pytest.mark.parametrize(("field", "level"), MEMBERS)
def test_a_number_becomes_the_level(field: str, level: IntEnum) -> None:
    for given in (level, level.value):
        config = configured(field, given)
        assert getattr(config.quantization_parameters, field) is level
        assert load_config(config) == config
        assert json.loads(config.model_dump_json())["quantization_parameters"][field] == level.value


@pytest.mark.parametrize(("field", "level"), MEMBERS)
def test_a_level_is_written_as_its_number(field: str, level: IntEnum) -> None:
    assert {f"{level}", str(level), f"{level:d}", json.dumps(level), "%s" % level} == {str(level.value)}  # noqa: UP031


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [-1, 5, 99, 2**70, True, 1.0, "1", None, [1]])
def test_other_values_are_refused(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{field}: must be "):
        configured(field, value)


@pytest.mark.parametrize("level", PrecisionLevel)
def test_a_region_is_not_slimmed(level: PrecisionLevel) -> None:
    region = {"input_names": ["a"], "output_names": ["b"], "precision_level": level.value}
    if level is PrecisionLevel.SLIM:
        with pytest.raises(ConfigError, match="must be 0, 1, 2, 3 or 4, got integer 100"):
            configured("custom_setting", [region])
    else:
        setting = configured("custom_setting", [region]).quantization_parameters.custom_setting
        assert setting is not None
        assert setting[0].precision_level is level


def test_the_schema_lists_the_numbers() -> None:
    properties = schema()["$defs"]["QuantizationParameters"]["properties"]
    for field, kind in FIELDS.items():
        assert properties[field]["enum"] == [level.value for level in kind]
        assert properties[field]["type"] == "integer"
        assert type(properties[field]["default"]) is int


def test_what_the_levels_convert() -> None:
    assert [level for level in PrecisionLevel if level.is_static] == [0, 1, 2]
    assert [level for level in PrecisionLevel if level.has_int8] == [0, 1, 2, 3]
