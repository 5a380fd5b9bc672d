"""Run a command line: choose the command, set up logging, print errors, return the exit status."""

from __future__ import annotations

import errno
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from xslim.cli import flat, interrupts
from xslim.cli.commands import COMMANDS, call
from xslim.cli.logs import logging_to_stderr
from xslim.cli.parser import Parser, add_common_arguments, language_option, options_ahead
from xslim.cli.streams import only_our_lines, open_missing_streams, readable, take_any_text
from xslim.commands.text import visible
from xslim.errors import ConfigError, XSlimError
from xslim.files import InputFile, refuse_inputs
from xslim.texts import ENGLISH, language_of, speaking, spoken

GARBAGE_AFTER = 50_000
"""Number of new objects after which garbage is collected. A model consists of many objects that live long.
With Python's default of 700, garbage collection takes a fifth of the time of preparing 6,000 nodes and saves
1 % of the memory."""

INTERNAL, CLOSED_PIPE = 1, 141
HELP = "help"
LOST_STREAM = (errno.ENOSPC, errno.EBADF, errno.EIO)
"""The errors of printing if standard output is closed or is a file on a full disk."""


def run(argv: Sequence[str] | None) -> int:
    """Run the command; if `argv` is None, it uses the arguments of the process and may end the process."""
    gc.set_threshold(GARBAGE_AFTER)
    # OpenCV would print errors of its own in addition to XSlim's.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    open_missing_streams()
    take_any_text()
    arguments = list(sys.argv[1:] if argv is None else argv)
    with (
        speaking(language_of(language_option(arguments)), _messages(arguments)),
        interrupts.watching() if argv is None else nullcontext(interrupts.Interrupts()) as seen,
    ):
        status = _status(arguments, seen)
    if seen.any:
        interrupts.leave(status)
    # With --debug the process ends in Python's usual way, as profilers want it.
    if argv is None and "--debug" not in arguments:
        interrupts.finish(status)
    return status


def _messages(arguments: Sequence[str]) -> str | None:
    """Return English where programs read the messages, or where the terminal cannot show Chinese."""
    shown = "--log-json" not in arguments and all(map(readable, (sys.stdout, sys.stderr)))
    return None if shown else ENGLISH


def _status(arguments: list[str], seen: interrupts.Interrupts) -> int:
    debug = "--debug" in arguments
    # A preprocessing function may replace sys.stdout.
    stdout = sys.stdout
    with nullcontext() if debug else only_our_lines():
        try:
            status = _run(arguments)
            stdout.flush()
        except SystemExit:
            raise
        except BaseException as error:  # noqa: BLE001 - the boundary: nothing passes it but an exit status
            # If Ctrl-C interrupts an import, the import may raise another error.
            return _failed(KeyboardInterrupt() if seen.any else error, debug)
        finally:
            sys.stdout = stdout
    return interrupts.STATUS if seen.any else status


def _run(arguments: list[str]) -> int:
    if not arguments:
        print(flat.make_parser().format_help(), end="", file=sys.stderr)
        return ConfigError.exit_code
    count = options_ahead(arguments)
    name, *rest = arguments[count:] or [""]
    if name == HELP:
        return _help(rest)
    if not name or name.startswith("-"):
        parser, run = flat.make_parser(), flat.run
    elif name in COMMANDS:
        parser, run = _parser_of(name), partial(call, name)
        arguments = [*arguments[:count], *rest]
    else:
        raise ConfigError(f"unknown command {name!r}", hint=_meant(name))
    options = parser.parse_args(arguments)
    _require_folder()
    # If the shell redirects output to an input, the file is empty by now and would be reported as damaged.
    refuse_inputs([], (InputFile(Path(text), "the file") for text in arguments))
    verbose = options.verbose or options.debug
    with logging_to_stderr(
        quiet=options.quiet, verbose=verbose, debug=options.debug, as_json=options.log_json
    ):
        return run(options)


def _parser_of(name: str) -> Parser:
    command = COMMANDS[name]
    parser = Parser(prog=f"xslim {name}", description=spoken(command.description))
    command.add_arguments(parser)
    add_common_arguments(parser)
    return parser


def _help(rest: Sequence[str]) -> int:
    """Print the help of a command, or what every command does."""
    if rest and rest[0] in COMMANDS:
        print(_parser_of(rest[0]).format_help(), end="")
        return 0
    if rest:
        raise ConfigError(f"unknown command {rest[0]!r}", hint=_meant(rest[0]))
    for name, command in COMMANDS.items():
        print(f"{name:9}{spoken(command.description)}")
    print()
    print(spoken("xslim COMMAND --help shows the options of one, xslim --help those without any."))
    return 0


def _meant(name: str) -> str:
    """Return what a user probably meant by a word that is no command."""
    near = get_close_matches(name, [*COMMANDS, HELP], n=1)
    if near:
        return f"did you mean {near[0]}?"
    if name.endswith(".json"):
        return f"to quantise as it says: xslim -c {name}"
    if name.endswith(".onnx"):
        return f"with data: xslim init {name}, without: xslim -i {name} --dynq or --fp16; see --help"
    return f"the commands are {', '.join(COMMANDS)}; see --help"


def _require_folder() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise ConfigError(
            "the current folder does not exist any more", hint="change into one that does"
        ) from error


def _failed(error: BaseException, debug: bool) -> int:
    """Print the error that ended the run and return the exit status."""
    if isinstance(error, KeyboardInterrupt):
        _say(interrupts.LINE)
        return interrupts.STATUS
    if isinstance(error, BrokenPipeError):
        _give_up_stdout()
        return CLOSED_PIPE
    if debug:
        traceback.print_exception(error)
    if isinstance(error, XSlimError):
        first, *others = _lines(error)
        _say(f"{spoken('xslim: error: ')}{visible(first)}", *map(visible, others))
        return error.exit_code
    if isinstance(error, OSError) and error.filename is None and error.errno in LOST_STREAM:
        _give_up_stdout()
        _say(spoken("xslim: error: ") + spoken(f"cannot write to standard output: {error.strerror}"))
        return ConfigError.exit_code
    hint = "" if debug else f" ({spoken('run again with --debug for the traceback')})"
    said = visible(f"{type(error).__name__}: {_joined(str(error))}")
    _say(f"{spoken('xslim: internal error: ')}{said}{hint}")
    return INTERNAL


def _lines(error: XSlimError) -> list[str]:
    """Return an error in the language of the command.

    Problems of a configuration have one line each; lines of other messages are joined.
    """
    what = error.what.split("\n") if isinstance(error, ConfigError) else [_joined(error.what)]
    place = f"{spoken(_joined(error.where))}: " if error.where else ""
    advice = f" ({spoken(_joined(error.hint))})" if error.hint else ""
    lines = [_problem(line) for line in what]
    lines[0] = f"{place}{lines[0]}"
    lines[-1] += advice
    return lines


def _problem(line: str) -> str:
    """Say a line, or else what follows the place with which the line begins."""
    said = spoken(line)
    place, colon, rest = line.partition(": ")
    return said if said != line or not colon else f"{place}: {spoken(rest)}"


def _joined(text: str) -> str:
    return " ".join(text.split())


def _give_up_stdout() -> None:
    """Redirect standard output to the null device, so that flushing it at exit does not fail again."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _say(*lines: str) -> None:
    # Standard error may be closed too.
    with suppress(OSError, ValueError):
        for line in lines:
            print(line, file=sys.stderr)
