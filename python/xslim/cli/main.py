"""From arguments to an exit status: what to run, where the log goes, how an error looks."""

from __future__ import annotations

import gc
import os
import sys
import traceback
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from xslim.cli import flat
from xslim.cli.commands import COMMANDS
from xslim.cli.logs import logging_to_stderr
from xslim.cli.parser import Parser, add_common_arguments
from xslim.errors import ConfigError, XSlimError

GARBAGE_AFTER = 50_000
"""New objects before garbage is looked for. A model is many objects that refer to each other and live long:
at Python's 700 the search takes a fifth of the time of preparing 6,000 nodes, and saves 1 % of the memory."""

INTERNAL, INTERRUPTED, CLOSED_PIPE = 1, 130, 141


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command ``xslim``.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    int
        0 for success, 2 for bad input, 1 for an internal failure, 130 when interrupted.
    """
    gc.set_threshold(GARBAGE_AFTER)
    arguments = list(sys.argv[1:] if argv is None else argv)
    # OpenCV would print errors of its own beside ours.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    try:
        return _run(arguments)
    except XSlimError as error:
        _complain("error", _lines(error), "--debug" in arguments)
        return error.exit_code
    except KeyboardInterrupt:
        print("xslim: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has left; the interpreter must not fail once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except Exception as error:  # noqa: BLE001 - the boundary: whatever else happens is our own failure
        debug = "--debug" in arguments
        hint = "" if debug else " (run again with --debug for the traceback)"
        text = " ".join(f"{type(error).__name__}: {error}".split())
        _complain("internal error", text + hint, debug)
        return INTERNAL


def _run(arguments: list[str]) -> int:
    if not arguments:
        print(flat.make_parser().format_help(), end="", file=sys.stderr)
        return ConfigError.exit_code
    name = arguments[0]
    if name.startswith("-"):
        parser, run = flat.make_parser(), flat.run
    elif name in COMMANDS:
        command = import_module(f"xslim.cli.commands.{name}")
        parser, run = Parser(prog=f"xslim {name}", description=COMMANDS[name]), command.run
        command.add_arguments(parser)
        add_common_arguments(parser)
        arguments = arguments[1:]
    else:
        near = get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(COMMANDS)}; see --help"
        raise ConfigError(f"unknown command {name!r}", hint=hint)
    options = parser.parse_args(arguments)
    verbose = options.verbose or options.debug
    with logging_to_stderr(quiet=options.quiet, verbose=verbose, as_json=options.log_json):
        status: int = run(options)
    return status


def _lines(error: XSlimError) -> str:
    # Only a configuration's problems come one per line; messages of other libraries are joined.
    return str(error) if isinstance(error, ConfigError) else " ".join(str(error).split())


def _complain(kind: str, text: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(f"xslim: {kind}: {text}", file=sys.stderr)
