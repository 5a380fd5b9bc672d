"""Ctrl-C ends a run within two seconds with exit status 130, and leaves nothing half written."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.workspace import Workspace, make_workspace

SECONDS = 2.0
STARTUP = 60.0
# A shell that runs the tests in the background makes its children ignore the signal.
COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
print("begun", file=sys.stderr, flush=True)
from xslim.cli import main
sys.exit(main())
"""
# What a preprocessing function is busy with: "{}" tells the test that it has begun.
BUSY = {
    "sleeps": "{}; import time; time.sleep(1000)",
    "computes": "{}\n    while True: pass",
    "does not want to end": "{}\n    while True:\n        try: import time; time.sleep(1000)\n"
    "        except BaseException: pass",
    "hangs at the third sample": "{}\n    if 'x2' in paths[0]: import time; time.sleep(1000)\n"
    "    return np.zeros((1, 3, 8, 8))",
}


def started(space: Workspace) -> Path:
    return space.folder / "started"


def busy(text: str, level: int) -> Callable[[Workspace], None]:
    def change(space: Workspace) -> None:
        space.section("quantization")["finetune_level"] = level
        space.use_function(text.format(f"open({str(started(space))!r}, 'a').close()"))

    return change


def importing(space: Workspace) -> None:
    space.use_function("pass")
    module = space.folder / "pre.py"
    text = f"open({str(started(space))!r}, 'a').close(); import time; time.sleep(1000)\n"
    module.write_text(text + module.read_text("utf-8"), "utf-8")


# At level 0 the first sample is decoded in a thread, at the others in the main one.
LEVELS = {"does not want to end": 1, "hangs at the third sample": 1}
CASES = {name: busy(text, LEVELS.get(name, 0)) for name, text in BUSY.items()}
CASES["importing the function"] = importing
MOMENTS = (0.02, 0.1, 0.3)


def start(space: Workspace) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", COMMAND, "-c", str(space.write_config())]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def end(run: subprocess.Popen[str]) -> tuple[float, str]:
    """Interrupt a run; return how long it took to end, and its log."""
    run.send_signal(signal.SIGINT)
    began = time.monotonic()
    try:
        _, log = run.communicate(timeout=STARTUP)
    finally:
        run.kill()
    return time.monotonic() - began, log


@dataclass
class Case:
    """A run in a folder of its own, and what was in the folder before."""

    space: Workspace
    run: subprocess.Popen[str]
    before: dict[str, bytes]

    @classmethod
    def begin(cls, folder: Path, change: Callable[[Workspace], None]) -> Case:
        space = make_workspace(folder)
        change(space)
        run = start(space)
        return cls(space, run, space.files())

    def check(self) -> None:
        seconds, log = end(self.run)
        assert self.run.returncode == 130, log
        assert log.endswith("xslim: interrupted\n")
        assert "Traceback" not in log
        assert seconds < SECONDS
        started(self.space).unlink(missing_ok=True)
        assert self.space.files() == self.before


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Case]]:
    """All runs at once: most of their time they start."""
    folder = tmp_path_factory.mktemp("runs")
    cases = {name: Case.begin(folder / str(index), CASES[name]) for index, name in enumerate(CASES)}
    yield cases
    # With several workers, another worker may check some of the cases, in runs of its own.
    for case in cases.values():
        case.run.kill()


@pytest.mark.parametrize("name", CASES)
def test_a_run_ends_whatever_it_is_busy_with(name: str, running: dict[str, Case]) -> None:
    case = running[name]
    deadline = time.monotonic() + STARTUP
    while not started(case.space).exists() and case.run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    case.check()


@pytest.mark.parametrize("seconds", MOMENTS)
def test_a_run_ends_while_it_imports(seconds: float, tmp_path: Path) -> None:
    case = Case.begin(tmp_path / "space", lambda _: None)
    # The interpreter itself starts first, and knows of no signal then.
    assert case.run.stderr is not None
    assert case.run.stderr.readline() == "begun\n"
    time.sleep(seconds)
    case.check()
