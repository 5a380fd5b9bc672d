"""Ctrl-C: end a run within two seconds, whatever code is running."""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.machinery import ExtensionFileLoader
from types import FrameType

STATUS = 130
LINE = "xslim: interrupted"
PATIENCE = 1.2
"""Seconds that a run has to end by itself: to remove partial files and to save its checkpoint."""
CLEANING = 0.3
"""Seconds that Python has to end after that."""


LOOK = 0.1
_LOADING = ("create_module", "exec_module")


@dataclass
class Interrupts:
    """The state of Ctrl-C in this run.

    Attributes
    ----------
    any : bool
        Whether Ctrl-C was pressed.
    held : bool
        Whether the main thread has not been interrupted yet.
    """

    any: bool = False
    held: bool = False


@contextmanager
def watching() -> Iterator[Interrupts]:
    """Watch for Ctrl-C, and end the process if the main thread does not end by itself.

    Python calls signal handlers only between two bytecodes of the main thread. A kernel, onnxruntime or a
    user's function that hangs delays the handler, so a second thread waits for the signal as well.
    """
    seen = Interrupts()
    if not _reaches_us():
        yield seen
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    ended = threading.Event()

    def watch() -> None:
        while number := os.read(reader, 1):
            if number[0] == signal.SIGINT:
                break
        for _ in range(int(PATIENCE / LOOK) if number else 0):
            if ended.wait(LOOK):
                return
            if seen.held:
                _thread.interrupt_main()
        if number:
            with suppress(OSError, ValueError):
                print(LINE, file=sys.stderr)
            leave(STATUS)

    def note(number: int, frame: FrameType | None) -> None:
        del number
        seen.any = True
        seen.held = _in_extension(frame)
        if not seen.held:
            raise KeyboardInterrupt

    handler = signal.signal(signal.SIGINT, note)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    thread = threading.Thread(target=watch, name="xslim-interrupt", daemon=True)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        signal.signal(signal.SIGINT, handler)
        # Closing the pipe ends the watching thread if it still reads.
        os.close(writer)
        thread.join()
        os.close(reader)


def leave(status: int) -> None:
    """End the process without waiting for hanging threads; scratch folders are removed first."""
    cleaner = threading.Thread(target=atexit._run_exitfuncs, daemon=True)
    cleaner.start()
    cleaner.join(CLEANING)
    _end(status)


def finish(status: int) -> None:
    """End the process as Python would, but without freeing the objects of the run one by one.

    This would take 0.1 to 0.4 s. Threads of a user's functions are waited for, and exit functions run.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    _end(status)


def _end(status: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _in_extension(frame: FrameType | None) -> bool:
    """Whether a C extension is being imported: an exception during that makes some extensions crash."""
    while frame is not None:
        loader = frame.f_locals.get("self") if frame.f_code.co_name in _LOADING else None
        if isinstance(loader, ExtensionFileLoader):
            return True
        frame = frame.f_back
    return False


def _reaches_us() -> bool:
    """Whether Ctrl-C reaches this thread; jobs in the background ignore Ctrl-C."""
    in_main = threading.current_thread() is threading.main_thread()
    return in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
