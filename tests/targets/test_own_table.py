"""A table of the user's own: where it is looked for, and what is said about a wrong one."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from xslim.cli import main
from xslim.config import load_config
from xslim.errors import ConfigError
from xslim.targets import load_target, target_names, target_of

CHOICES = " or ".join(map(repr, target_names()))

TABLE = """
name = "board"
provider = "BoardExecutionProvider"
raises_opset_for = ["Gelu"]
[types]
single = ["float"]
[[section]]
role = "compute"
max_level = 2
[section.operators.Conv]
data_inputs = [0, 1]
weight_input = 1
weight_axis = [{ axis = 0 }]
int8_constraints = [{ input = 1 }]
[[section]]
role = "activation"
[section.operators]
Relu = { max_level = 1, bounds = [0.0, inf], types = "single" }
"""

WRONG: list[tuple[str, str, str]] = [
    ('provider = "BoardExecutionProvider"', "", "provider: required"),
    ('name = "board"', 'nam = "board"', "nam: unknown field, did you mean name?"),
    ('name = "board"', "name = 1", "name: must be a string, got integer 1"),
    ('name = "board"', 'name = ""', "name: must not be empty"),
    ('name = "board"', 'name = "board"\nunsigned = 1', "unsigned: must be true or false, got integer 1"),
    ('["Gelu"]', '"Gelu"', "raises_opset_for: must be a list, got string 'Gelu'"),
    ('"compute"', '"compte"', "section[0].role: must be 'compute', "),
    ('"compute"', '"compte"', "did you mean 'compute'?"),
    ("max_level = 2", "max_level = 3", "section[0].max_level: must be at most 2, got 3"),
    ("max_level = 2", "max_level = true", "section[0].max_level: must be an integer, got boolean True"),
    ("max_level = 2", "", 'Conv.max_level: required for the role "compute", here or in the section'),
    ('role = "activation"', "", "section[1].operators.Relu.role: required, here or in the section"),
    (".Conv]", ".Convv]", "section[0].operators.Convv: ONNX has no such operator, did you mean Conv?"),
    (
        "weight_input",
        "weight_imput",
        "operators.Conv.weight_imput: unknown field, did you mean weight_input?",
    ),
    ("{ axis = 0 }", '{ axis = "0" }', "operators.Conv.weight_axis[0].axis: must be an integer"),
    ("[{ axis = 0 }]", "{ axis = 0 }", "operators.Conv.weight_axis: must be a list, got object"),
    ("{ input = 1 }", "{ imput = 1 }", "int8_constraints[0].imput: unknown field, did you mean input?"),
    ("{ input = 1 }", "{ one_of = [1] }", "int8_constraints[0]: needs one of attribute, input, inputs_from"),
    ("[0.0, inf]", "[0.0]", "section[1].operators.Relu.bounds[1]: required"),
    (
        'types = "single"',
        'types = "singel"',
        "Relu.types: [types] has no list 'singel', did you mean single?",
    ),
    ("[types]", "[typos]", "typos: unknown field, did you mean types?"),
]


def changed(*changes: tuple[str, str]) -> str:
    text = TABLE
    for before, after in changes:
        assert before in text
        text = text.replace(before, after, 1)
    return text


def refusal(path: Path, text: str) -> str:
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_target(str(path))
    assert caught.value.where == str(path)
    return caught.value.what


@pytest.mark.parametrize(("before", "after", "expected"), WRONG)
def test_a_wrong_table_is_refused_by_name(tmp_path: Path, before: str, after: str, expected: str) -> None:
    assert expected in refusal(tmp_path / "t.toml", changed((before, after)))


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    chosen = [WRONG[index] for index in (0, 4, 8, 14, 19)]
    message = refusal(tmp_path / "t.toml", changed(*((before, after) for before, after, _ in chosen)))
    assert message.startswith(f"{len(chosen)} problems:\n")
    for _, _, expected in chosen:
        assert expected in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name = ", "not valid TOML"),
        (TABLE + TABLE, "not valid TOML"),
        ("\xff", "cannot read the target file"),
        ("section = []", "section: must not be empty"),
        ("section = 1", "section: must be a list, got integer 1"),
        ("section = [1]", "section[0]: must be an object, got integer 1"),
        ("name = 2020-01-01", "name: must be a string, got object"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "t.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=str(path)) as caught:
        load_target(str(path))
    assert expected in caught.value.what


@pytest.mark.parametrize("name", target_names())
def test_the_tables_of_the_package_are_sound(name: str, tmp_path: Path) -> None:
    text = resources.files("xslim").joinpath("targets", f"{name}.toml").read_text("utf-8")
    copy = tmp_path / "copy.toml"
    copy.write_text(text, "utf-8")
    assert load_target(str(copy)) == load_target(name)


def configuration(folder: Path, target: Any) -> Path:
    path = folder / "config.json"
    content = {"quantization_parameters": {"precision_level": 3, "target": target}}
    path.write_text(json.dumps(content), "utf-8")
    return path


def test_a_path_is_relative_to_the_folder_then_to_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside, here = tmp_path / "beside", tmp_path / "here"
    beside.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    config = load_config(configuration(beside, "board.toml"))
    with pytest.raises(ConfigError, match=r"there is no such target file .*relative to the current folder"):
        target_of(config)
    (beside / "board.toml").write_text(changed(('"board"', '"beside"')), "utf-8")
    assert target_of(config).name == "beside"
    (here / "board.toml").write_text(changed(('"board"', '"here"')), "utf-8")
    assert target_of(config).name == "here"
    (here / "board.toml").write_text(TABLE, "utf-8")
    assert target_of(config).name == "board", "a file that has changed is read again"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("spacemitt", f"must be {CHOICES}, got string 'spacemitt', did you mean 'spacemit'?"),
        ("tables/board", "a table of your own is a file that ends with .toml, got string 'tables/board'"),
        ("board.json", "a table of your own is a file that ends with .toml"),
        (3, f"must be {CHOICES}, got integer 3"),
        (None, f"must be {CHOICES}, got null"),
    ],
)
def test_what_is_neither_a_name_nor_a_table(tmp_path: Path, target: Any, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(configuration(tmp_path, target))
    assert f"quantization_parameters.target: {expected}" in str(caught.value)


def test_a_wrong_table_ends_the_run_before_the_model_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "board.toml").write_text(changed(("weight_input", "weight_imput")), "utf-8")
    config = configuration(tmp_path, str(tmp_path / "board.toml"))
    assert main(["-c", str(config), "-i", str(tmp_path / "missing.onnx")]) == 2
    assert "weight_imput: unknown field, did you mean weight_input?" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["board.toml", "config.json"]
