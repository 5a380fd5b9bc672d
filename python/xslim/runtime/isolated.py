"""Run models in a child process, so that a crash of onnxruntime does not end this process."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Protocol, TypeVar

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.config import require_encodable
from xslim.errors import CrashError, LimitError, ModelError
from xslim.graph.detached import detach
from xslim.graph.io import load_mended
from xslim.graph.limits import RUN_MB, RUN_SECONDS, limit
from xslim.runtime import wire, worker
from xslim.runtime.engine import FULL, OPTIMISATIONS, Description, Engine, SessionOptions
from xslim.runtime.threads import thread_count

logger = logging.getLogger(__name__)

Feeds = Mapping[str, NDArray[np.generic]]
T = TypeVar("T")

START_SECONDS = 120.0
"""Time limit for importing onnxruntime in a new process, in seconds."""

PIPE_BYTES = 1 << 20
"""Size of the pipes to and from the child, where the system lets it be chosen. Weights pass through them."""

# The child has its parent's module path, but it does not run the package's `__init__`, which imports much
# more.
_BOOT = """
import json, sys, types
sys.path[:], folders = json.loads(sys.argv[2])
for name, folder in folders.items():
    package = sys.modules[name] = types.ModuleType(name)
    package.__path__ = [folder]
from xslim.runtime.worker import serve
serve()
"""

# Exit codes with which Windows ends a process.
_WINDOWS = {0xC0000005: "access violation", 0xC00000FD: "stack overflow", 0xC0000409: "abort"}


class Runs(Protocol):
    """A session that can run a model, in this process or in a child process."""

    outputs: list[str]
    described: Sequence[Description]

    def run(self, feeds: Feeds) -> list[Any]:
        """Run the model once and return its outputs in the order of ``outputs``."""


class Isolated:
    """A child process that runs models; it starts at once, and again after a crash.

    If no child process can be started, models run in this process. The child ends when this object is closed
    and when this process ends or crashes. Only one thread at a time may use the object.

    Parameters
    ----------
    seconds : float, optional
        Time limit of each step (loading a model, one run); ``XSLIM_RUN_SECONDS`` by default.
    memory : int, optional
        Bytes that the child may allocate; ``XSLIM_RUN_MB`` by default.
    """

    def __init__(self, *, seconds: float | None = None, memory: int | None = None) -> None:
        self.seconds = limit(RUN_SECONDS) if seconds is None else seconds
        self._memory = limit(RUN_MB) << 20 if memory is None else memory
        self._numbers = count()
        self._child = _start(self._memory)

    def __enter__(self) -> Isolated:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Id of the child process, or None if models run in this process."""
        return self._child.pid if self._child is not None else None

    def close(self) -> None:
        """End the child process."""
        if self._child is not None:
            self._child.end()

    def give_back(self) -> None:
        """Free the sessions that are no longer used, before a phase that does not need the child.

        Without this call, the child keeps them until the next request.
        """
        if self._child is not None and self._child.alive:
            # After a crash, the next session starts another child.
            with contextlib.suppress(CrashError, LimitError):
                self._child.give_back()

    def session(
        self,
        model: ir.Model | bytes | Path,
        outputs: Sequence[str] | None = None,
        *,
        threads: int | None = None,
        optimisation: str = FULL,
        qdq_as_written: bool = False,
        lean: bool = False,
    ) -> Runs:
        """Load a model in the child process; parameters are those of `Session`.

        Raises
        ------
        CrashError
            onnxruntime died of the model.
        ModelError
            onnxruntime cannot load the model.
        LimitError
            That takes too long or too much memory.
        ConfigError
            onnxruntime cannot be told the name of the file.
        """
        if isinstance(model, Path):
            require_encodable(model)
        options = SessionOptions("cpu", threads or thread_count(), optimisation, qdq_as_written, lean)
        if self._child is not None and not self._child.alive:
            self._child.end()
            self._child = _start(self._memory)
        try:
            return self._made(model, outputs, options)
        except ModelError:
            mended = load_mended(model) if isinstance(model, Path) else None
            if mended is None:
                raise
            return self._made(mended, outputs, options)

    def _made(
        self, model: ir.Model | bytes | Path, outputs: Sequence[str] | None, options: SessionOptions
    ) -> Runs:
        weights: Mapping[str, NDArray[Any]] = {}
        if isinstance(model, ir.Model):
            model, weights = detach(model)
        source = model.absolute() if isinstance(model, Path) else model
        if self._child is None or not self._child.usable():
            return Engine(source, outputs, options, weights)
        return _Remote(self._child, next(self._numbers), self.seconds, source, outputs, options, weights)


class _Remote:
    """A session in the child."""

    def __init__(
        self,
        child: _Child,
        number: int,
        seconds: float,
        source: bytes | Path,
        outputs: Sequence[str] | None,
        options: SessionOptions,
        weights: Mapping[str, NDArray[Any]],
    ) -> None:
        self.outputs: list[str]
        self.described: Sequence[Description]
        self._child, self._number, self._seconds = child, number, seconds
        wanted = list(outputs) if outputs is not None else None
        request = worker.opening(number, source, wanted, options, dict(weights))
        self.outputs, self.described = child.ask(request, seconds)
        # The next request tells the child to drop the session.
        weakref.finalize(self, child.dropped.append, number)

    def run(self, feeds: Feeds) -> list[Any]:
        """Run the model once and return its outputs in the order of ``outputs``.

        Raises
        ------
        CrashError
            onnxruntime died of the model.
        ModelError
            onnxruntime refuses the feeds or fails.
        LimitError
            That takes too long or too much memory.
        """
        result: list[Any] = self._child.ask({"session": self._number, "feeds": dict(feeds)}, self._seconds)
        return result


class _Child:
    """The child process and the messages to and from it."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._process, self._errors = process, errors
        self._version: str | None = None
        self._refused = False
        self.dropped: list[int] = []

    @property
    def pid(self) -> int | None:
        return None if self._refused else self._process.pid

    @property
    def alive(self) -> bool:
        return self._refused or self._process.poll() is None

    def usable(self) -> bool:
        """Wait until the child is ready; return False if it failed to start."""
        if self._version is None and not self._refused:
            try:
                self._version = self._exchange(None, START_SECONDS)["version"]
            except (LimitError, ModelError, OSError, KeyError) as error:
                self._refused = True
                logger.debug("no process can be started, so models run in this one: %s", error)
        return not self._refused

    def ask(self, request: dict[str, Any], seconds: float) -> Any:
        """Send a request and wait for the answer; if an exception interrupts the wait, end the child."""
        dropped = [self.dropped.pop() for _ in range(len(self.dropped))]
        reply = self._exchange({**request, "dropped": dropped}, seconds)
        if "refused" in reply:
            raise ModelError(**reply["refused"])
        if "memory" in reply:
            raise LimitError(
                "loading or running the model takes too much memory",
                hint=f"give smaller inputs, or allow more with {RUN_MB}",
            )
        return reply["result"]

    def give_back(self) -> None:
        """Tell the child to free the sessions that are no longer used."""
        if self.dropped and not self._refused:
            self.ask({}, START_SECONDS)

    def _exchange(self, request: dict[str, Any] | None, seconds: float) -> Any:
        with self._limited_to(seconds) as late:
            try:
                # If the child dies, the pipe breaks during the request; reading the answer finds the reason.
                with contextlib.suppress(BrokenPipeError):
                    if request is not None:
                        wire.send(self._pipe(self._process.stdin), request)
                return wire.receive(self._pipe(self._process.stdout))
            except EOFError:
                code = self._process.wait()
            except BaseException:
                self._process.kill()
                raise
        if late.is_set():
            raise LimitError(
                f"loading or running the model takes more than {seconds:g} seconds",
                hint=f"give smaller inputs, or allow more with {RUN_SECONDS}",
            )
        cause = cause_of_death(code) + self._last_words()
        raise CrashError(
            f"onnxruntime {self._version or ''} died of the model: {cause}",
            hint="try the model in onnxruntime alone, and report it there",
        )

    @contextlib.contextmanager
    def _limited_to(self, seconds: float) -> Iterator[threading.Event]:
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()
        try:
            yield late
        finally:
            timer.cancel()

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read(1 << 16).decode(errors="replace").split("\n")
        words = [line.strip() for line in lines if line.strip()]
        return f" ({words[-1][:200]})" if words else ""

    def end(self) -> None:
        """End the child process and wait until it has ended."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            # Closing flushes the pipe, which fails if the child is dead; the unsent data are not needed.
            with contextlib.suppress(OSError):
                self._pipe(pipe).close()
        self._process.wait()
        self._errors.close()

    @staticmethod
    def _pipe(pipe: IO[bytes] | None) -> Any:
        assert pipe is not None
        return pipe


def cause_of_death(code: int) -> str:
    """Return the meaning of an exit code: the name of the signal if a signal ended the process."""
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return _WINDOWS.get(code & 0xFFFFFFFF, f"exit status {code}")
    return f"{name}, perhaps for want of memory" if name == "SIGKILL" else name


def _start(memory: int) -> _Child | None:
    folders = {"xslim": Path(__file__).parents[1], "xslim.runtime": Path(__file__).parent}
    found = json.dumps([sys.path, {name: str(folder) for name, folder in folders.items()}])
    try:
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - `_Child.end` closes it
        process = subprocess.Popen(
            # sys.executable may be empty if Python is embedded in another program.
            [sys.executable or "", "-I", "-c", _BOOT, str(memory), found],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            pipesize=PIPE_BYTES,
        )
    except OSError as error:
        logger.debug("no process can be started, so models run in this one: %s", error)
        return None
    return _Child(process, errors)


def with_less_optimisation(
    attempt: Callable[[str], T], model: str, *, survives: type[ModelError] = CrashError
) -> T:
    """Call `attempt`, which runs a model; if onnxruntime crashes, call it again with less graph optimisation.

    The last attempt uses no optimisation. If an attempt after the first succeeds, a warning says how the
    model can be loaded.

    Parameters
    ----------
    attempt : callable
        Function of the optimisation level, one of `OPTIMISATIONS`.
    model : str
        Name of the model in the warning.
    survives : type of ModelError
        The error after which another attempt is made: `ModelError` if the optimiser may also be the cause of
        a failure without a crash.

    Raises
    ------
    CrashError or ModelError
        onnxruntime crashes or fails without optimisation as well. The error is that of the first attempt.
    XSlimError
        Any other error that the attempt raises.
    """
    first: ModelError | None = None
    for optimisation in OPTIMISATIONS:
        try:
            result = attempt(optimisation)
        except survives as error:
            first = first or error
            continue
        if first is not None:
            logger.warning("%s: %s; it lives with the optimisation level %s", model, first.what, optimisation)
        return result
    assert first is not None
    raise first
