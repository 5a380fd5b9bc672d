"""Write log lines to stderr, without colours unless stderr is a terminal."""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from xslim.commands.text import visible
from xslim.texts import message_catalogue

OWN_HANDLERS = ("onnxslim",)
"""Libraries that add a handler to their logger if it has none."""


@contextmanager
def logging_to_stderr(
    *, quiet: bool = False, verbose: bool = False, debug: bool = False, as_json: bool = False
) -> Iterator[None]:
    """Show only the package's own log lines on stderr while a command runs.

    Parameters
    ----------
    quiet : bool
        Only warnings and errors.
    verbose : bool
        Everything of the package; wins over `quiet`.
    debug : bool
        Warnings and tracebacks of other libraries too.
    as_json : bool
        One JSON object per line, with ``level``, ``module`` and ``message``, for other programs.
    """
    handler = _json_handler() if as_json else _handler()
    level = logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO
    with ExitStack() as stack:
        stack.callback(handler.close)
        stack.enter_context(_logger("xslim", handler, level, propagate=False))
        # If there is no handler, Python prints the warnings of other libraries itself.
        others = handler if debug else logging.NullHandler()
        stack.enter_context(_logger(None, others))
        for name in OWN_HANDLERS:
            stack.enter_context(_silenced(name))
        stack.enter_context(_captured(debug))
        yield


@contextmanager
def _logger(
    name: str | None, handler: logging.Handler, level: int | None = None, *, propagate: bool = True
) -> Iterator[None]:
    logger = logging.getLogger(name)
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(before[0] if level is None else level)
    logger.propagate = propagate
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


@contextmanager
def _silenced(name: str) -> Iterator[None]:
    """Put a handler that prints nothing in the place of those that a library has added to its logger."""
    logger = logging.getLogger(name)
    before = logger.handlers
    logger.handlers = [logging.NullHandler()]
    try:
        yield
    finally:
        logger.handlers = before


@contextmanager
def _captured(debug: bool) -> Iterator[None]:
    """Capture what Python prints by itself: warnings, and tracebacks that no caller can catch."""
    hooks = sys.unraisablehook, threading.excepthook
    if not debug:
        sys.unraisablehook = threading.excepthook = _ignored
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        sys.unraisablehook, threading.excepthook = hooks


def _ignored(report: object) -> None:
    del report


def _handler() -> logging.Handler:
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler: logging.Handler = RichHandler(
            console=Console(stderr=True), show_time=False, show_path=False, show_level=False, highlighter=None
        )
    else:
        handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    return handler


def _json_handler() -> logging.Handler:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter())
    return handler


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        message = "\n".join(_lines(record))
        fields = {"level": record.levelname.lower(), "module": record.name, "message": message}
        return json.dumps(fields, ensure_ascii=False)


class _Formatter(logging.Formatter):
    """Format a record in the language of the command, also for threads that do not know the language."""

    def __init__(self) -> None:
        super().__init__()
        self._say = message_catalogue().sentence

    def format(self, record: logging.LogRecord) -> str:
        lines = [self._say(line) for line in _lines(record)]
        if record.levelno == logging.WARNING:
            lines[0] = f"{self._say('xslim: warning: ')}{lines[0]}"
        if record.exc_info:
            lines.append(self.formatException(record.exc_info))
        return "\n".join(lines)


def _lines(record: logging.LogRecord) -> list[str]:
    """Return the message line by line, without anything that a terminal would obey.

    Only a message that is written as several lines has them: a line break in a name is part of the name.
    """
    message = record.getMessage()
    return [visible(line) for line in (message.split("\n") if "\n" in str(record.msg) else [message])]
