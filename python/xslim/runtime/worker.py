"""The child process of `isolated`: creates and runs sessions on request until its standard input ends.

It imports only numpy and onnxruntime, so it is ready within 0.1 s.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from xslim.errors import ModelError
from xslim.runtime import wire
from xslim.runtime.engine import Engine, SessionOptions
from xslim.runtime.memory import give_back

# Texts by which onnxruntime and its libraries report that memory ran out.
_NO_MEMORY = ("Failed to allocate memory", "bad_alloc", "bad allocation", "out of memory")


def serve() -> None:
    """Read requests from standard input and write the answers to standard output, one after another."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    # Text that a library prints to standard output goes to standard error, away from the answers.
    os.dup2(2, 1)
    _prepare()
    import onnxruntime as ort

    wire.send(replies, {"version": ort.__version__})
    waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests, waiting), daemon=True).start()
    sessions: dict[int, Engine] = {}
    while True:
        request = waiting.get()
        try:
            reply = {"result": _answer(request, sessions)}
        except ModelError as error:
            lacks = any(text in error.what for text in _NO_MEMORY)
            reply = {"memory": True} if lacks else {"refused": {"what": error.what, "hint": error.hint}}
        except MemoryError:
            reply = {"memory": True}
        del request
        wire.send(replies, reply)


def _prepare() -> None:
    # The parent handles Ctrl-C. A crash must not write a core file.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    limit = int(sys.argv[1])
    try:
        import resource
    except ImportError:
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    most = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if most == resource.RLIM_INFINITY or limit < most:
        # RLIMIT_DATA does not count mapped files, such as weights, whose memory the system can take back.
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    # If memory runs out, the operating system should end this process and not its parent.
    score = Path("/proc/self/oom_score_adj")
    if score.exists():
        try:
            score.write_text("1000")
        except OSError:
            return


def _listen(requests: BinaryIO, waiting: queue.SimpleQueue[Any]) -> None:
    """Queue the requests of the parent; end this process at once when the parent has ended."""
    try:
        while True:
            waiting.put(wire.receive(requests))
    finally:
        os._exit(0)


def _answer(request: dict[str, Any], sessions: dict[int, Engine]) -> Any:
    for number in request["dropped"]:
        sessions.pop(number, None)
    if request["dropped"]:
        give_back()
    if "session" not in request:
        return None
    if "feeds" in request:
        return sessions[request["session"]].run(request["feeds"])
    source = request["source"]
    engine = Engine(
        Path(source) if isinstance(source, str) else source.tobytes(),
        request["outputs"],
        SessionOptions(**request["options"]),
        request["weights"],
    )
    sessions[request["session"]] = engine
    return [engine.outputs, engine.described]


def opening(
    number: int,
    source: bytes | Path,
    outputs: list[str] | None,
    options: SessionOptions,
    weights: dict[str, Any],
) -> dict[str, Any]:
    """Return the request that creates a session; the parent calls this function."""
    import numpy as np

    given = str(source) if isinstance(source, Path) else np.frombuffer(source, np.uint8)
    return {
        "session": number,
        "source": given,
        "outputs": outputs,
        "options": asdict(options),
        "weights": weights,
    }
