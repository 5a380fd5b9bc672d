"""Run a function in a forked process with limits of time and memory.

The forking process has imported XSlim and onnxruntime already, so a job starts within milliseconds. Every job
has a process of its own, so that a crash ends only the job.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import pkgutil
import resource
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import xslim

MEGABYTE = 1 << 20
ESCAPED = 99
"""Exit status of a job that ended by an exception, which no command of XSlim uses."""


@dataclass(frozen=True)
class Limits:
    """What one process may use: seconds of wall time, megabytes of address space."""

    seconds: float = 300.0
    megabytes: int = 8192


@dataclass(frozen=True)
class Ended:
    """How a process ended and what it cost.

    The status is negative for a signal, and None after the time limit.
    """

    status: int | None
    seconds: float
    peak_megabytes: float
    log: str


def preload() -> None:
    """Import all of XSlim, and so what its commands need: once here, not in every process."""
    for module in pkgutil.walk_packages(xslim.__path__, "xslim."):
        if not module.name.endswith("__main__"):
            import_module(module.name)


def run(job: Callable[[], int], log: Path, limits: Limits, folder: Path) -> Ended:
    """Run `job` in a process of its own.

    Parameters
    ----------
    job : callable
        Returns the exit status.
    log : pathlib.Path
        Takes what the job prints, stdout and stderr.
    limits : Limits
        Beyond the time the process is killed; beyond the memory its allocations fail.
    folder : pathlib.Path
        The current folder of the job, and its folder for temporary files.
    """
    started = time.monotonic()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _be_child(job, log, limits, folder)
    in_time = _wait(child, limits.seconds)
    if not in_time:
        os.killpg(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    return Ended(
        os.waitstatus_to_exitcode(status) if in_time else None,
        time.monotonic() - started,
        usage.ru_maxrss / 1024,
        log.read_text(errors="replace") if log.exists() else "",
    )


def _wait(child: int, seconds: float) -> bool:
    """Return whether the process ended in time."""
    handle = os.pidfd_open(child)
    try:
        return bool(select.select([handle], [], [], seconds)[0])
    finally:
        os.close(handle)


def _be_child(job: Callable[[], int], log: Path, limits: Limits, folder: Path) -> None:
    status = ESCAPED
    # The parent's sessions must not be collected here: they would wait for threads that only the parent has.
    gc.freeze()
    try:
        os.setpgid(0, 0)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
        memory = limits.megabytes * MEGABYTE
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        faulthandler.disable()
        os.chdir(folder)
        os.environ["TMPDIR"] = str(folder)
        status = job()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - the process ends here, whatever happened
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
