"""Run jobs in processes: several at a time, each with limits; what dies or hangs does not stop the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from xslim.batch.manifest import Job
from xslim.files import scratch_folder
from xslim.runtime import thread_count

PAUSE_SECONDS = 0.05
GRACE_SECONDS = 5.0
"""Time that an interrupted process gets to remove its temporary files."""


@dataclass(frozen=True)
class Limits:
    """The limits of every job.

    Attributes
    ----------
    jobs : int
        Jobs at a time.
    memory_mb : int or None
        Memory that the process of a job may allocate, in MiB.
    seconds : float or None
        Time that a job may take.
    """

    jobs: int = 1
    memory_mb: int | None = None
    seconds: float | None = None


def run_all(jobs: Sequence[Job], limits: Limits) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Run jobs and yield each with its figures, or with an ``error``, as soon as it ends."""
    waiting = list(jobs)
    running: list[_Process] = []
    numbers = count()
    threads = max(1, thread_count() // min(limits.jobs, max(1, len(jobs))))
    with scratch_folder() as folder:
        try:
            while waiting or running:
                while waiting and len(running) < limits.jobs:
                    file = folder / f"{next(numbers)}.json"
                    running.append(_Process(waiting.pop(0), file, limits, threads))
                ended = [process for process in running if process.has_ended()]
                for process in ended:
                    running.remove(process)
                    yield process.job, process.result()
                if not ended:
                    time.sleep(PAUSE_SECONDS)
        finally:
            for process in running:
                process.stop()


class _Process:
    def __init__(self, job: Job, file: Path, limits: Limits, threads: int) -> None:
        self.job = job
        self._limits = limits
        # The name of a job may be as long as that of a file can be.
        self._file, self._log = file, file.with_suffix(".log")
        description = {
            "model": str(job.model),
            "output": str(job.output),
            "config": job.config,
            "target": job.target,
            "memory_mb": limits.memory_mb,
        }
        self._file.write_text(json.dumps(description), "utf-8")
        self._started = time.monotonic()
        self._is_late = False
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "xslim.batch.worker", str(self._file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "XSLIM_THREADS": str(threads)},
            )

    def has_ended(self) -> bool:
        """Whether the process has ended; one that takes too long is stopped."""
        if self._process.poll() is not None:
            return True
        if self._limits.seconds is None or time.monotonic() - self._started < self._limits.seconds:
            return False
        self._is_late = True
        self.stop()
        return True

    def stop(self) -> None:
        """Interrupt the process, and kill it if it goes on."""
        with suppress(OSError):
            self._process.send_signal(signal.SIGINT if sys.platform != "win32" else signal.SIGTERM)
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def result(self) -> dict[str, Any]:
        """Return the figures of the process, or the reason why there are none."""
        seconds = time.monotonic() - self._started
        if self._is_late and self._limits.seconds is not None:
            return {"error": f"took more than {self._limits.seconds / 60:g} minutes", "seconds": seconds}
        with suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads(self._file.with_suffix(".result").read_text("utf-8"))
            return {"seconds": seconds, **found}
        code = self._process.returncode
        died = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        return {"error": f"the process {died}{self._last_line()}", "seconds": seconds}

    def _last_line(self) -> str:
        with suppress(OSError):
            lines = self._log.read_text("utf-8", "replace").strip().splitlines()
            return f": {lines[-1]}" if lines else ""
        return ""
