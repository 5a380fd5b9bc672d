"""Tests of the Makefile and the CI script: `make help`, a missing toolchain."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import ROOT

MAKE = shutil.which("make")
pytestmark = pytest.mark.skipif(MAKE is None, reason="make is not installed")


def run(command: list[str], path: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command with PATH set to `path` alone."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(command, cwd=cwd, env={**environment, "PATH": path}, capture_output=True, text=True)


def tools(folder: Path, *names: str) -> str:
    """Make a folder for PATH that holds links to these programs and no others."""
    folder.mkdir()
    for program in names:
        found = shutil.which(program)
        assert found, f"{program} is needed by this test"
        (folder / program).symlink_to(found)
    return str(folder)


def test_help_lists_the_targets() -> None:
    done = run([str(MAKE), "help"], os.environ["PATH"])
    listed = set(re.findall(r"^  make ([a-z-]+) +\S", done.stdout, re.MULTILINE))
    assert {"help", "setup", "demo", "test", "lint", "bench", "accuracy", "wheel"} <= listed


def test_help_is_what_make_does_by_itself() -> None:
    assert run([str(MAKE)], os.environ["PATH"]).stdout == run([str(MAKE), "help"], os.environ["PATH"]).stdout


def test_missing_cargo_is_said(tmp_path: Path) -> None:
    done = run([str(MAKE), "check-cargo"], tools(tmp_path / "bin", "bash"))
    assert done.returncode != 0
    assert "cargo is missing" in done.stderr
    assert "https://rustup.rs" in done.stderr


@pytest.mark.parametrize("target", ["demo", "test", "lint", "bench", "wheel"])
def test_missing_cargo_is_said_before_anything_is_made(target: str, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    for file in ("Makefile", "pyproject.toml", "Cargo.toml", "Cargo.lock"):
        shutil.copy(ROOT / file, clone)
    done = run(
        [str(MAKE), target, f"PYTHON={sys.executable}"], tools(tmp_path / "bin", "bash", "find"), cwd=clone
    )
    assert done.returncode != 0
    assert "cargo is missing" in done.stderr
    assert not (clone / ".venv").exists()


def test_missing_python_is_said(tmp_path: Path) -> None:
    done = run([str(MAKE), "check-python"], tools(tmp_path / "bin", "bash"))
    assert done.returncode != 0
    assert "Python 3.10 or newer is missing" in done.stderr


def test_old_python_is_said(tmp_path: Path) -> None:
    path = tools(tmp_path / "bin", "bash")
    old = tmp_path / "bin" / "python3"
    old.write_text("#!/bin/bash\nexit 1\n")
    old.chmod(0o755)
    assert "Python 3.10 or newer is missing" in run([str(MAKE), "check-python"], path).stderr


@pytest.mark.parametrize(
    ("failing", "expected", "code"),
    [("", ["lint", "test"], 0), ("lint", ["lint"], 1), ("test", ["lint", "test"], 1)],
)
def test_ci_runs_lint_then_test_and_fails_with_them(
    failing: str, expected: list[str], code: int, tmp_path: Path
) -> None:
    path = tools(tmp_path / "bin", "bash", "dirname", "env")
    fake = tmp_path / "bin" / "make"
    fake.write_text(f'#!/bin/bash\necho "$PWD $1"\n[ "$1" != "{failing}" ]\n')
    fake.chmod(0o755)
    done = run([str(ROOT / ".ci" / "run")], path, cwd=tmp_path)
    assert done.stdout.splitlines() == [f"{ROOT} {target}" for target in expected]
    assert done.returncode == code
