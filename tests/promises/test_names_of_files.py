"""A path of any characters is used, or refused with what to do, whatever the encoding of file names is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.workspace import Workspace, make_workspace

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
CHINESE = "模型 目录"
NOT_UTF8 = os.fsdecode(b"\xc4\xa3\xd0\xcd")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes there alone")


def status(arguments: list[str], folder: Path, env: dict[str, str]) -> int:
    """The exit status; whatever is no success has to be one clear line."""
    result = subprocess.run(
        [sys.executable, "-m", "xslim", *arguments],
        cwd=folder,
        env={**os.environ, **env},
        capture_output=True,
        timeout=120,
    )
    if result.returncode:
        assert b"PYTHONUTF8=1" in result.stderr, result.stderr
    return result.returncode


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = make_workspace(tmp_path / CHINESE)
    made.section("quantization").update(finetune_level=0, analysis_enable=False)
    return made


COMMANDS = {
    "static": ["-c", "{config}"],
    "slim": ["-i", "{model}", "-o", "{folder}/结果.onnx"],
    "plan": ["plan", "-c", "{config}"],
    "info": ["info", "{model}"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_chinese_paths_where_names_are_ascii(command: str, workspace: Workspace) -> None:
    config = str(workspace.write_config())
    places = {"config": config, "model": str(workspace.model), "folder": str(workspace.folder)}
    before = set(workspace.folder.rglob("*"))
    arguments = [argument.format(**places) for argument in COMMANDS[command]]
    found = status(arguments, workspace.folder, ASCII)
    assert found in (0, 2)
    assert found == 0 or set(workspace.folder.rglob("*")) == before


@pytest.mark.parametrize("field", ["onnx_model", "working_dir", "output_prefix"])
def test_chinese_paths_in_a_configuration(field: str, tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    workspace.section("model")[field] = CHINESE if field == "output_prefix" else f"{tmp_path}/{CHINESE}"
    assert status(["-c", str(workspace.write_config())], tmp_path, ASCII) == 2
    assert not [*tmp_path.rglob(f"{CHINESE}*")]


@pytest.mark.parametrize("place", ["input", "output"])
def test_a_name_that_is_not_utf8(place: str, tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    odd = tmp_path / f"{NOT_UTF8}.onnx"
    odd.write_bytes(workspace.model.read_bytes())
    names = {"input": ["-i", odd, "-o", tmp_path / "o.onnx"], "output": ["-i", workspace.model, "-o", odd]}
    assert status([*map(str, names[place])], tmp_path, {"PYTHONUTF8": "1"}) == 2
    assert odd.read_bytes() == workspace.model.read_bytes()
