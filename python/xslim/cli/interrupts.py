"""Ctrl-C: a run ends within two seconds, whatever it is busy with."""

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
"""Seconds in which a run may end by itself: it removes what is half written and saves its checkpoint."""
CLEANING = 0.3
"""Seconds for what Python does when it ends."""


LOOK = 0.1
_LOADING = ("create_module", "exec_module")


@dataclass
class Interrupts:
    """What is known about Ctrl-C in this run.

    Attributes
    ----------
    any : bool
        Whether it was pressed.
    held : bool
        Whether the main thread has yet to be told.
    """

    any: bool = False
    held: bool = False


@contextmanager
def watching() -> Iterator[Interrupts]:
    """Notice Ctrl-C, and end the process where the main thread does not end by itself.

    Python calls its handler only between two steps of the main thread. A kernel, onnxruntime or a function of
    the user's that hangs would hold it up, so another thread waits for the signal too.
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
        # The watching thread, if it still reads, comes to the end of the pipe.
        os.close(writer)
        thread.join()
        os.close(reader)


def leave(status: int) -> None:
    """End the process without waiting for threads that hang; folders with half a model are removed."""
    cleaner = threading.Thread(target=atexit._run_exitfuncs, daemon=True)
    cleaner.start()
    cleaner.join(CLEANING)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _in_extension(frame: FrameType | None) -> bool:
    """Whether a module in C is being loaded: an exception in the middle of that crashes some of them."""
    while frame is not None:
        loader = frame.f_locals.get("self") if frame.f_code.co_name in _LOADING else None
        if isinstance(loader, ExtensionFileLoader):
            return True
        frame = frame.f_back
    return False


def _reaches_us() -> bool:
    """Whether Ctrl-C reaches this thread: a job in the background ignores it."""
    in_main = threading.current_thread() is threading.main_thread()
    return in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
