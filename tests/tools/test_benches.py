"""The benchmarks run, and the programs beside them can be imported."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

BENCHES = Path(__file__).parents[2] / "benches"
PROGRAMS = sorted(path.stem for path in BENCHES.glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_can_be_imported(name: str) -> None:
    importlib.import_module(f"benches.{name}")


def test_every_benchmark_runs_once() -> None:
    command = [
        sys.executable,
        "-m",
        "pytest",
        BENCHES,
        "-o",
        "python_files=bench_*.py",
        "--benchmark-disable",
    ]
    result = subprocess.run(command, cwd=BENCHES.parent, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:]
