"""Loading a configuration: defaults, strictness, one error with every problem."""

from __future__ import annotations

import copy
import json
import logging
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xslim.config import load_config, resolve_path
from xslim.config.fields import target_names
from xslim.errors import ConfigError

VALID: dict[str, Any] = {
    "model_parameters": {"onnx_model": "m.onnx", "output_prefix": "m.q", "working_dir": "out", "opset": 17},
    "calibration_parameters": {
        "calibration_step": 50,
        "calibration_batch_size": 2,
        "calibration_device": "cpu",
        "calibration_type": "kl",
        "input_parametres": [
            {
                "input_name": "x",
                "input_shape": [1, 3, 224, 224],
                "dtype": "float32",
                "file_type": "img",
                "color_format": "rgb",
                "mean_value": [1, 2.5, 3],
                "std_value": [57, 58, 59],
                "preprocess_file": "PT_IMAGENET",
                "data_list_path": "list.txt",
            }
        ],
    },
    "quantization_parameters": {
        "precision_level": 1,
        "finetune_level": 0,
        "analysis_enable": False,
        "max_percentile": 0.999,
        "custom_setting": [{"input_names": ["a"], "output_names": ["b"], "precision_level": 2}],
        "truncate_var_names": ["t"],
        "target": "generic",
        "bias_type": "int32",
        "ignore_op_types": ["Softmax"],
        "ignore_op_names": ["/head/*"],
    },
}


def changed(path: str, value: Any, source: dict[str, Any] = VALID) -> dict[str, Any]:
    """Copy a configuration and set one field; a part of the path that is a number is a list index."""
    result = copy.deepcopy(source)
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    place: Any = result
    for part in parents:
        place = place[part]
    place[last] = value
    return result


INPUT = "calibration_parameters.input_parametres.0"
SHOWN_INPUT = "calibration_parameters.input_parametres[0]"
QUANTIZATION = "quantization_parameters"
CUSTOM = "quantization_parameters.custom_setting.0"

WRONG = [
    ("model_parameters", [], "model_parameters: must be an object, got list"),
    ("model_parametres", {}, "model_parametres: unknown field, did you mean model_parameters?"),
    ("model_parameters.onnx_model", 3, "model_parameters.onnx_model: must be a string, got integer 3"),
    ("model_parameters.output_prefix", "a/b", "output_prefix: must be a file name without folders"),
    ("model_parameters.working_dir", ["o"], "working_dir: must be a string, got list"),
    ("model_parameters.skip_onnxsim", "yes", "skip_onnxsim: must be true or false, got string 'yes'"),
    ("model_parameters.opset", "17", "opset: must be an integer, got string '17'"),
    ("model_parameters.opset", 0, "opset: must be at least 1, got 0"),
    ("model_parameters.opset", 17.5, "opset: must be an integer, got number 17.5"),
    (
        "calibration_parameters.calibration_stp",
        1,
        "calibration_parameters.calibration_stp: unknown field, did you mean calibration_step?",
    ),
    (
        "calibration_parameters.precision_level",
        1,
        "precision_level: unknown field here, it belongs in quantization_parameters",
    ),
    ("calibration_parameters.calibration_step", 0, "calibration_step: must be at least 1, got 0"),
    ("calibration_parameters.calibration_step", True, "must be an integer, got boolean True"),
    ("calibration_parameters.calibration_batch_size", -1, "must be at least 1, got -1"),
    ("calibration_parameters.calibration_device", "gpu", "must be 'cpu', 'cuda' or 'cuda:<number>'"),
    ("calibration_parameters.calibration_type", "percentil", "did you mean 'percentile'?"),
    ("calibration_parameters.calibration_type", None, "calibration_type: must be"),
    (
        "calibration_parameters.input_parameters",
        [],
        "given twice: input_parametres and input_parameters are the same field",
    ),
    ("calibration_parameters.input_parametres", [], "required for precision_level 1"),
    ("calibration_parameters.input_parametres", {}, "input_parametres: must be a list, got object"),
    (f"{INPUT}.data_list_path", None, f"{SHOWN_INPUT}.data_list_path: required for precision_level 1"),
    (f"{INPUT}.data_list_path", "", f"{SHOWN_INPUT}.data_list_path: required for precision_level 1"),
    (f"{INPUT}.data_list_path", 7, f"{SHOWN_INPUT}.data_list_path: must be a string, got integer 7"),
    (f"{INPUT}.data_list", "x", "data_list: unknown field, did you mean data_list_path?"),
    (f"{INPUT}.input_shape", [1, 3, 0, 4], f"{SHOWN_INPUT}.input_shape[2]: must be at least 1, got 0"),
    (f"{INPUT}.input_shape", ["n", 3], f"{SHOWN_INPUT}.input_shape[0]: must be an integer"),
    (f"{INPUT}.dtype", "float", "did you mean 'float64'?"),
    (f"{INPUT}.file_type", "jpg", f"{SHOWN_INPUT}.file_type: must be 'img', 'npy' or 'raw'"),
    (f"{INPUT}.color_format", "RGB", "did you mean 'rgb'?"),
    (f"{INPUT}.mean_value", ["1", 2, 3], f"{SHOWN_INPUT}.mean_value[0]: must be a number, got string '1'"),
    (f"{INPUT}.mean_value", [1, 2], "std_value: has 3 values but mean_value has 2"),
    (f"{INPUT}.mean_value", 127, "mean_value: must be a list, got integer 127"),
    (f"{INPUT}.mean_value", [float("nan"), 0, 0], "mean_value[0]: must be a finite number"),
    (f"{INPUT}.std_value", [1, 0, 1], "std_value: must not contain 0"),
    (f"{INPUT}.preprocess_file", "PT_IMAGNET", "must be PT_IMAGENET, IMAGENET, LETTERBOX or"),
    (f"{INPUT}.preprocess_file", "a.pyc", 'or "path/to/file.py:function"'),
    (f"{INPUT}.file_type", "npy", 'PT_IMAGENET reads images but file_type is "npy"'),
    (f"{QUANTIZATION}.precision_level", 5, "precision_level: must be 0, 1, 2, 3, 4 or 100, got integer 5"),
    (f"{QUANTIZATION}.precision_level", True, "precision_level: must be an integer, got boolean True"),
    (f"{QUANTIZATION}.precision_level", 1.0, "precision_level: must be an integer, got number 1.0"),
    (f"{QUANTIZATION}.finetune_level", -1, "finetune_level: must be 0, 1, 2 or 3"),
    (f"{QUANTIZATION}.analysis_enable", 1, "analysis_enable: must be true or false, got integer 1"),
    (f"{QUANTIZATION}.max_percentile", 0.9, "max_percentile: must be at least 0.99, got 0.9"),
    (f"{QUANTIZATION}.max_percentile", 99.99, "max_percentile: must be at most 1, got 99.99"),
    (f"{QUANTIZATION}.custom_setting", {}, "custom_setting: must be a list, got object"),
    (f"{CUSTOM}.output_names", [], "custom_setting[0].output_names: must not be empty"),
    (f"{CUSTOM}.finetune_level", 1, "it belongs in quantization_parameters"),
    (f"{CUSTOM}.precision_level", None, "custom_setting[0]: sets nothing"),
    (
        f"{QUANTIZATION}.target",
        "spacemitt",
        f"target: must be {' or '.join(map(repr, target_names()))}, got string 'spacemitt'",
    ),
    (f"{QUANTIZATION}.bias_type", "int8", "bias_type: must be 'float' or 'int32', got string 'int8'"),
    (f"{QUANTIZATION}.truncate_var_names", "t", "truncate_var_names: must be a list, got string 't'"),
    (f"{QUANTIZATION}.ignore_op_types", "Softmax", "ignore_op_types: must be a list"),
    (f"{QUANTIZATION}.ignore_op_names", [1], "ignore_op_names[0]: must be a string, got integer 1"),
]


def test_every_field_arrives() -> None:
    config = load_config(VALID)
    assert config.model_parameters.working_dir == "out"
    assert config.calibration_parameters.input_parameters[0].mean_value == (1.0, 2.5, 3.0)
    assert config.calibration_parameters.input_parameters[0].input_shape == (1, 3, 224, 224)
    assert config.quantization_parameters.custom_setting is not None
    assert config.quantization_parameters.custom_setting[0].output_names == ("b",)
    assert config.quantization_parameters.ignore_op_names == ("/head/*",)


def test_defaults_are_the_documented_ones() -> None:
    config = load_config({"calibration_parameters": {"input_parameters": [{"data_list_path": "l"}]}})
    calibration, quantization = config.calibration_parameters, config.quantization_parameters
    assert (calibration.calibration_step, calibration.calibration_batch_size) == (100, 1)
    assert (calibration.calibration_device, calibration.calibration_type) == ("cuda", "default")
    assert (quantization.precision_level, quantization.finetune_level) == (0, 1)
    assert (quantization.analysis_enable, quantization.max_percentile) == (True, 0.9999)
    entry = calibration.input_parameters[0]
    assert (entry.file_type, entry.color_format, entry.preprocess_file) == ("img", "bgr", None)


@pytest.mark.parametrize(("path", "value", "fragment"), WRONG, ids=lambda value: str(value)[:48])
def test_a_wrong_field_is_refused_by_name(path: str, value: Any, fragment: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(changed(path, value))
    assert fragment in str(caught.value)
    assert "problems" not in str(caught.value)


def test_all_problems_come_at_once() -> None:
    config = copy.deepcopy(VALID)
    places = [path for path, value, _ in WRONG if value in (3, "yes", "gpu", 99.99)]
    for path, value, _ in WRONG:
        if path in places:
            config = changed(path, value, config)
    with pytest.raises(ConfigError) as caught:
        load_config(config)
    lines = str(caught.value).splitlines()
    assert lines[0] == "config: 4 problems:"
    for line, path in zip(lines[1:], places, strict=True):
        assert line.startswith(f"  {path}: ")


def test_both_spellings_mean_the_same() -> None:
    other = copy.deepcopy(VALID)
    calibration = other["calibration_parameters"]
    calibration["input_parameters"] = calibration.pop("input_parametres")
    assert load_config(other) == load_config(VALID)


@pytest.mark.parametrize("level", [3, 4, 100])
def test_levels_without_calibration_need_no_data(level: int) -> None:
    config = load_config({"quantization_parameters": {"precision_level": level}})
    assert not config.is_static


@pytest.mark.parametrize("source", [{}, {"quantization_parameters": {"precision_level": 2}}])
def test_static_levels_need_data(source: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"calibration_parameters\.input_parameters: required"):
        load_config(source)


@pytest.mark.parametrize(
    ("text", "place", "fragment"),
    [
        ('{\n  "model_parameters": {,}\n}', "line 2, column 24", "not valid JSON"),
        ("", "line 1, column 1", "not valid JSON"),
        ("[]", "c.json", "must be a JSON object"),
        ('{"a": 1, "a": 2}', "c.json", "given twice in the same object: a"),
        ("[" * 100_000, "c.json", "not valid JSON"),
    ],
)
def test_json_errors_name_the_place(tmp_path: Path, text: str, place: str, fragment: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert place in str(caught.value)
    assert fragment in str(caught.value)


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(b"\xff\xfe\x00")
    for source in (path, tmp_path, tmp_path / "none.json"):
        with pytest.raises(ConfigError, match=str(source)):
            load_config(source)


def test_a_source_of_another_type_is_refused() -> None:
    with pytest.raises(ConfigError, match="not int"):
        load_config(3)  # type: ignore[arg-type]


def test_a_file_gives_its_folder(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(VALID), "utf-8-sig")
    config = load_config(str(path))
    assert config.base_dir == tmp_path
    assert load_config(VALID).base_dir is None
    assert load_config(config, opset=19).base_dir == tmp_path


def test_relative_paths_are_taken_from_here_then_from_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "both").touch()
    (there / "one").touch()
    monkeypatch.chdir(here)
    assert resolve_path("both", there) == here / "both"
    assert resolve_path("one", there) == there / "one"
    assert resolve_path("none", there) == here / "none"
    assert resolve_path("one") == here / "one"
    assert resolve_path(there / "one", here) == there / "one"


def test_overrides_replace_and_lists_grow() -> None:
    config = load_config(
        VALID, onnx_model="n.onnx", opset=19, precision_level=2, ignore_op_types=["Conv"], ignore_op_names=[]
    )
    assert (config.model_parameters.onnx_model, config.model_parameters.opset) == ("n.onnx", 19)
    assert config.quantization_parameters.precision_level == 2
    assert config.quantization_parameters.ignore_op_types == ("Softmax", "Conv")
    assert config.quantization_parameters.ignore_op_names == ("/head/*",)
    assert config.model_parameters.working_dir == "out"


def test_overrides_are_checked() -> None:
    with pytest.raises(ConfigError, match="opset: must be at least 1"):
        load_config(VALID, opset=0)


def test_the_source_is_left_alone() -> None:
    source = copy.deepcopy(VALID)
    load_config(source, opset=19, ignore_op_types=["Conv"])
    assert source == VALID


def test_a_config_is_frozen() -> None:
    config = load_config(VALID)
    with pytest.raises(ValueError, match="frozen"):
        config.model_parameters.opset = 3  # type: ignore[misc]


@pytest.mark.parametrize(("step", "warned"), [(9, True), (10, False), (1000, False), (1001, True)])
def test_unusual_steps_are_only_a_warning(step: int, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "xslim"):
        load_config(changed("calibration_parameters.calibration_step", step))
    assert bool(caplog.records) is warned


names = st.text(string.ascii_letters + "_/.0123", min_size=1, max_size=8)
entries = st.fixed_dictionaries(
    {"data_list_path": names},
    optional={
        "input_shape": st.lists(st.integers(1, 999), min_size=1, max_size=5),
        "dtype": st.sampled_from(["float32", "int64", "bool"]),
        "file_type": st.sampled_from(["img", "npy", "raw"]),
        "color_format": st.sampled_from(["bgr", "rgb"]),
        "mean_value": st.lists(st.floats(-300, 300), min_size=3, max_size=3),
        "std_value": st.lists(st.floats(0.1, 300), min_size=3, max_size=3),
        "preprocess_file": names.map(lambda name: f"{name}.py:run"),
    },
)
configs = st.fixed_dictionaries(
    {
        "calibration_parameters": st.fixed_dictionaries(
            {"input_parametres": st.lists(entries, min_size=1, max_size=3)},
            optional={
                "calibration_step": st.integers(1, 5000),
                "calibration_type": st.sampled_from(["default", "kl", "minmax", "percentile", "mse"]),
            },
        )
    },
    optional={
        "model_parameters": st.fixed_dictionaries(
            {}, optional={"onnx_model": names, "skip_onnxsim": st.booleans(), "opset": st.integers(1, 30)}
        ),
        "quantization_parameters": st.fixed_dictionaries(
            {},
            optional={
                "precision_level": st.sampled_from([0, 1, 2, 3, 4, 100]),
                "max_percentile": st.floats(0.99, 1),
                "ignore_op_types": st.lists(names, max_size=3),
            },
        ),
    },
)


@given(configs)
def test_a_config_survives_a_round_trip(source: dict[str, Any]) -> None:
    config = load_config(source)
    assert load_config(config) == config
    assert load_config(json.loads(config.model_dump_json(exclude_unset=True))) == config
    assert load_config(json.loads(config.model_dump_json())) == config


SECTIONS = {
    "model_parameters": "model_parameters",
    "calibration_parameters": "calibration_parameters",
    INPUT: "calibration_parameters.input_parametres[0]",
    QUANTIZATION: "quantization_parameters",
    CUSTOM: "quantization_parameters.custom_setting[0]",
}


def fields(section: str) -> list[str]:
    """Return the fields that `VALID` has in a section."""
    place: Any = VALID
    for part in section.split("."):
        place = place[int(part) if part.isdigit() else part]
    return list(place)


@given(st.sampled_from(sorted(SECTIONS)), st.data())
def test_a_typing_error_gets_the_right_suggestion(section: str, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(fields(section)))
    position = data.draw(st.integers(0, len(field) - 1))
    typo = data.draw(
        st.sampled_from(
            [
                field[:position] + field[position + 1 :],
                field[:position] + field[position] + field[position:],
                field[:position] + "x" + field[position + 1 :],
                field.upper(),
            ]
        )
    )
    if any(typo in fields(other) for other in SECTIONS):
        return
    with pytest.raises(ConfigError) as caught:
        load_config(changed(f"{section}.{typo}", None))
    assert f"{SECTIONS[section]}.{typo}: unknown field, did you mean {field}?" in str(caught.value)


@given(st.sampled_from(sorted(SECTIONS)), st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12))
def test_an_unknown_key_is_always_refused_and_help_given(section: str, key: str) -> None:
    if any(key in fields(other) for other in SECTIONS):
        return
    with pytest.raises(ConfigError) as caught:
        load_config(changed(f"{section}.{key}", 1))
    message = str(caught.value)
    assert f"{SECTIONS[section]}.{key}: unknown field, " in message
    assert "did you mean " in message or "the known ones are " in message


def test_a_configuration_is_checked_once(caplog: pytest.LogCaptureFixture) -> None:
    raw = copy.deepcopy(VALID)
    raw["calibration_parameters"]["calibration_step"] = 5
    config = load_config(raw)
    assert load_config(config) is config
    assert len([record for record in caplog.records if "calibration_step" in record.message]) == 1
    assert load_config(config, opset=19).model_parameters.opset == 19
