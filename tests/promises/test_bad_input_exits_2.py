"""README: bad input ends with exit status 2 and one line that says what is wrong, before any work starts."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.workspace import Workspace, make_workspace
from xslim.cli import main

DIGITS = "9" * 5_000

# What is done to a good workspace, with the line that the error must hold.
BAD: dict[str, tuple[Callable[[Workspace], None], str]] = {}


def bad(fragment: str) -> Callable[[Callable[[Workspace], None]], Callable[[Workspace], None]]:
    """Add a case to the table under the name of its function."""

    def add(change: Callable[[Workspace], None]) -> Callable[[Workspace], None]:
        BAD[change.__name__] = (change, fragment)
        return change

    return add


def in_config(space: Workspace, old: str, new: str) -> None:
    """Replace text of the configuration as it is written."""
    text = json.dumps(space.config)
    assert old in text
    (space.folder / "config.json").write_text(text.replace(old, new), "utf-8")


@bad("model_parameters.onnx_model: must not contain a NUL character")
def model_path_holds_nul(space: Workspace) -> None:
    space.section("model")["onnx_model"] = "a\0b.onnx"


@bad("input_parametres[0].data_list_path: must not contain a NUL character")
def list_path_holds_nul(space: Workspace) -> None:
    space.entry["data_list_path"] = "\0"


@bad("input_parametres[0].preprocess_file: must be PT_IMAGENET")
def function_path_holds_nul(space: Workspace) -> None:
    space.entry["preprocess_file"] = "a\0.py:run"


@bad("a number has too many digits")
def number_of_5000_digits(space: Workspace) -> None:
    in_config(space, '"calibration_step": 10', f'"calibration_step": {DIGITS}')


@bad("calibration_parameters.calibration_step: must be at most")
def number_of_4000_digits(space: Workspace) -> None:
    in_config(space, '"calibration_step": 10', f'"calibration_step": {DIGITS[:4000]}')


@bad("nested too deeply")
def config_is_nested_too_deeply(space: Workspace) -> None:
    (space.folder / "config.json").write_text("[" * 100_000, "utf-8")


def without_content(path: Path) -> None:
    """Put a named pipe in the place of a file: who reads it waits for ever."""
    path.unlink()
    os.mkfifo(path)


@bad("config.json: cannot read the config file: this is a named pipe, not a file")
def config_is_a_pipe(space: Workspace) -> None:
    space.write_config()
    without_content(space.folder / "config.json")


def exit_status_and_error(arguments: list[str], capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run the command line; return its status and the one error line."""
    status = main(arguments)
    streams = capfd.readouterr()
    assert "Traceback" not in streams.err
    (line,) = [line for line in streams.err.splitlines() if "error" in line.split(": ")[:2][-1]]
    assert line.startswith("xslim: error: ")
    return status, line


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change, fragment = BAD[name]
    space = make_workspace(tmp_path / "space")
    change(space)
    config = space.folder / "config.json"
    if not config.exists():
        space.write_config()
    status, line = exit_status_and_error(["-c", str(config)], capfd)
    assert fragment in line
    assert status == 2
    assert not space.output.exists()
