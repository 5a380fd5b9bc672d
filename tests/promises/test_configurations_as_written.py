"""A configuration has the same meaning in every form in which people write it."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xslim
from tests.cli.workspace import Workspace, make_workspace
from tests.config.test_load import VALID
from xslim.cli import main
from xslim.config import load_config, schema
from xslim.errors import ConfigError, ModelError

COMMENTS = ["", "// why\n", '# why, and "how"\n', "/* a\n b */", " ,"]
OPTIONAL = [
    (title, field)
    for title, section in schema()["$defs"].items()
    for field, content in section["properties"].items()
    if field not in section.get("required", ()) and field not in ("input_parameters", "input_parametres")
]


def place(config: dict[str, Any], title: str) -> dict[str, Any]:
    """Return the object of a configuration that a definition of the schema describes."""
    calibration, quantization = config["calibration_parameters"], config["quantization_parameters"]
    return {
        "ModelParameters": config["model_parameters"],
        "CalibrationParameters": calibration,
        "InputParameters": calibration["input_parametres"][0],
        "QuantizationParameters": quantization,
        "CustomSetting": quantization["custom_setting"][0],
    }[title]


@pytest.mark.parametrize(("title", "field"), OPTIONAL, ids="-".join)
def test_an_empty_string_leaves_an_optional_field_out(title: str, field: str) -> None:
    without, blank = copy.deepcopy(VALID), copy.deepcopy(VALID)
    for config in (without, blank):
        config["quantization_parameters"]["precision_level"] = 3
        config["quantization_parameters"]["custom_setting"][0] |= {
            "calibration_type": "kl",
            "max_percentile": 0.999,
        }
    place(without, title).pop(field, None)
    place(blank, title)[field] = ""
    assert load_config(blank) == load_config(without)


@given(st.data())
def test_comments_and_trailing_commas_change_nothing(data: st.DataObject) -> None:
    text = json.dumps(VALID, indent=1)
    written = ""
    for line in text.splitlines():
        is_last = line.strip() not in "{[" and not line.endswith((",", "{", "["))
        added = data.draw(st.sampled_from(COMMENTS if is_last else COMMENTS[:-1]))
        written += f"{line}{added}\n"
    # The outermost brace is followed by nothing.
    written = written.rstrip().removesuffix(",")
    assert load_config(read(written)) == load_config(VALID)


def read(text: str) -> dict[str, Any]:
    """Read a text as the loader does."""
    from xslim.config.jsonc import plain_json

    content: dict[str, Any] = json.loads(plain_json(text))
    return content


@given(st.sampled_from(["_", "//", "_note", "// note"]), st.none() | st.text() | st.lists(st.integers()))
def test_keys_may_be_comments_anywhere(key: str, value: Any) -> None:
    config = copy.deepcopy(VALID)
    for title in ("ModelParameters", "CalibrationParameters", "InputParameters", "CustomSetting"):
        place(config, title)[key] = value
    config[key] = value
    assert load_config(config) == load_config(VALID)


def test_comment_keys_may_be_repeated(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text('{"//": 1, "//": 2, "quantization_parameters": {"precision_level": 4}}', "utf-8")
    assert load_config(path).quantization_parameters.precision_level == 4


def test_the_older_name_of_the_prefix(caplog: pytest.LogCaptureFixture) -> None:
    config = copy.deepcopy(VALID)
    config["model_parameters"]["output_model_file_prefix"] = config["model_parameters"].pop("output_prefix")
    with caplog.at_level(logging.WARNING):
        assert load_config(config) == load_config(VALID)
    assert "older name of model_parameters.output_prefix" in caplog.text
    config["model_parameters"]["output_prefix"] = "other"
    with pytest.raises(ConfigError, match="another value"):
        load_config(config)


@pytest.mark.parametrize("level", [3, 4, 100])
def test_an_input_without_a_list_needs_none(level: int) -> None:
    entry = {"input_name": "x", "input_shape": [1, 3, 8, 8], "dtype": "float32"}
    config = {
        "calibration_parameters": {"input_parametres": [entry]},
        "quantization_parameters": {"precision_level": level},
    }
    assert not load_config(config).calibration_parameters.has_data


@pytest.mark.parametrize("spelling", ["input_parametres", "input_parameters"])
def test_messages_use_the_spelling_of_the_user(
    spelling: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    space = make_workspace(tmp_path)
    calibration = space.config["calibration_parameters"]
    entry = calibration.pop("input_parametres")[0]
    wrong: list[list[dict[str, Any]]] = [
        [],
        [{"input_name": "x"}],
        [entry | {"input_name": "y"}],
        [entry, entry | {"input_name": "z"}],
        [entry | {"file_type": "jpg"}],
        [entry | {"dtype": "int64"}],
    ]
    for entries in wrong:
        calibration[spelling] = entries
        assert main(["-c", str(space.write_config())]) == 2
        assert f"calibration_parameters.{spelling}" in capfd.readouterr().err


def test_home_is_expanded_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    space = make_workspace(tmp_path / "space")
    space.use_function("return np.zeros((len(paths), 3, 8, 8), np.float32) + len(paths[0]) % 7")
    listing = tmp_path / "list.txt"
    listing.write_text("\n".join(f"~/space/data/x{index}.npy" for index in range(3)), "utf-8")
    space.section("model")["onnx_model"] = "~/space/net.onnx"
    space.section("model")["working_dir"] = "~/made"
    space.entry["data_list_path"] = "~/list.txt"
    space.entry["preprocess_file"] = "~/space/pre.py:run"
    space.write_config()
    assert main(["-c", "~/space/config.json"]) == 0
    assert list((tmp_path / "made").glob("*.onnx"))


def backslashes(space: Workspace) -> None:
    space.entry["data_list_path"] = "data\\x.txt"


def folder_as_list(space: Workspace) -> None:
    space.entry["data_list_path"] = str(space.listing.parent)


def image_as_list(space: Workspace) -> None:
    space.entry["data_list_path"] = str(space.use_images() / "0.jpg")


def list_in_gbk(space: Workspace) -> None:
    space.listing.write_bytes("样本一.npy\n".encode("gbk"))


def torch_model(space: Workspace) -> None:
    path = space.folder / "net.pt"
    path.write_bytes(b"PK\x03\x04 archive")
    space.section("model")["onnx_model"] = str(path)


def function_of_another_name(space: Workspace) -> None:
    space.use_function("return None")
    space.entry["preprocess_file"] = space.entry["preprocess_file"].removesuffix(":run")


HINTS = [
    (backslashes, "write / instead of backslashes"),
    (folder_as_list, "xslim init --data FOLDER"),
    (image_as_list, "a text file with one path per line"),
    (list_in_gbk, "save the list as UTF-8"),
    (torch_model, "torch.onnx.export"),
    (function_of_another_name, "pre.py:run"),
]


@pytest.mark.parametrize(("mistake", "hint"), HINTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_mistake_gets_the_way_out(
    mistake: Any, hint: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    space = make_workspace(tmp_path)
    mistake(space)
    assert main(["-c", str(space.write_config())]) == 2
    assert hint in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "hint"),
    [
        ("c.json", "// 模型\n{}".encode("gbk"), "save the file as UTF-8"),
        ("m.onnx", b"\x08\x07\xff", "named with -i"),
        ("c.yaml", b"model_parameters:\n  opset: 17\n", "only JSON is read"),
        ("c.json", rb'{"model_parameters": {"onnx_model": "C:\models\a.onnx"}}', "two backslashes"),
    ],
)
def test_a_config_of_another_form(tmp_path: Path, name: str, content: bytes, hint: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=hint):
        load_config(path)


def test_an_unknown_operator_type_is_mentioned(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    space = make_workspace(tmp_path)
    space.section("quantization")["ignore_op_types"] = ["conv", "Softmax"]
    assert main(["plan", "-c", str(space.write_config()), "--json"]) == 0
    (message,) = [line for line in capfd.readouterr().err.splitlines() if "ignore_op_types" in line]
    assert "'conv', did you mean 'Conv'?" in message


def test_the_function_has_the_parameters_of_version_2(tmp_path: Path) -> None:
    space = make_workspace(tmp_path)
    config = json.loads(space.write_config().read_text("utf-8"))
    ours = xslim.quantize_onnx_model(config, space.model, tmp_path / "a.onnx")
    theirs = xslim.quantize_onnx_model(
        path_or_config=config, input_onnx_model_or_path=space.model, output_path=tmp_path / "b.onnx"
    )
    assert ours == theirs
    with pytest.raises(ConfigError, match="another name"):
        xslim.quantize_onnx_model(config, path_or_config=config)
    with pytest.raises(ConfigError, match="no configuration"):
        xslim.quantize_onnx_model(model_or_path=space.model)


def test_the_conversions_of_version_2(tmp_path: Path) -> None:
    space = make_workspace(tmp_path)
    dynamic = xslim.dynamic_quantize_onnx_model(str(space.model), [], [])
    assert dynamic == xslim.quantize_dynamic(space.model)
    half = xslim.convert_to_fp16_onnx_model(
        onnx.load(space.model), ["Conv"], [], sim_en=True, target_onnx_opset=18
    )
    assert half == xslim.convert_fp16(space.model, ignore_op_types=["Conv"], opset=18)
    with pytest.raises(ModelError):
        xslim.convert_to_fp16_onnx_model(str(tmp_path / "none.onnx"))
