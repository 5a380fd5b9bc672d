"""The dask example with two local workers writes the same bytes as a run without shards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cli.workspace import make_workspace
from xslim.cli import main

EXAMPLE = Path(__file__).parents[2] / "examples" / "distributed" / "calibrate_with_dask.py"


def test_two_workers_give_the_same_bytes(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    config = str(workspace.write_config())
    assert main(["-c", config, "--quiet"]) == 0
    written = workspace.output / "net.q.onnx"
    expected = written.read_bytes()
    for file in workspace.output.iterdir():
        file.unlink()
    subprocess.run([sys.executable, str(EXAMPLE), config, "--workers", "2"], check=True, timeout=300)
    assert written.read_bytes() == expected
