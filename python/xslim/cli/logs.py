"""Where log lines go: to stderr, plain unless it is a terminal."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def logging_to_stderr(*, quiet: bool = False, verbose: bool = False, as_json: bool = False) -> Iterator[None]:
    """Show the package's log lines on stderr while a command runs.

    Parameters
    ----------
    quiet : bool
        Only warnings and errors.
    verbose : bool
        Everything; wins over `quiet`.
    as_json : bool
        One JSON object per line, with ``level``, ``module`` and ``message``, for other programs.
    """
    package = logging.getLogger("xslim")
    handler = _json_handler() if as_json else _handler()
    before = package.level, package.propagate
    package.addHandler(handler)
    package.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
    package.propagate = False
    try:
        yield
    finally:
        package.removeHandler(handler)
        handler.close()
        package.setLevel(before[0])
        package.propagate = before[1]


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
        fields = {"level": record.levelname.lower(), "module": record.name, "message": record.getMessage()}
        return json.dumps(fields, ensure_ascii=False)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"xslim: warning: {text}" if record.levelno == logging.WARNING else text
