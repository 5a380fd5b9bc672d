"""Ctrl-C during a run gives its own exit status and leaves no partial file."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.cli.workspace import make_workspace

# A shell that runs the tests in the background makes its children ignore the signal.
COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from xslim.cli import main
sys.exit(main(sys.argv[1:]))
"""
PATIENCE = 120


def test_an_interrupted_run_leaves_nothing_half_written(tmp_path: Path) -> None:
    space = make_workspace(tmp_path / "space")
    started = space.folder / "started"
    space.use_function(f"open({str(started)!r}, 'a').close(); import time; time.sleep(1); return np.zeros(0)")
    config = space.write_config()
    before = space.files()
    run = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "-c", str(config)], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + PATIENCE
    while not started.exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, log = run.communicate(timeout=PATIENCE)
    assert run.returncode == 130, log
    assert log.endswith("xslim: interrupted\n")
    started.unlink()
    assert space.files() == before
