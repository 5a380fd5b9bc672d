"""The argument parser that all commands share."""

from __future__ import annotations

import argparse
from typing import NoReturn

from xslim.errors import ConfigError

COMMON = ("quiet", "verbose", "debug", "log_json")
"""Options that every command understands."""
COMMON_FLAGS = ("--quiet", "--verbose", "--debug", "--log-json")
"""The same as they are written; they may also stand before the command."""
SHELLS = ("bash", "zsh", "tcsh")
"""Shells that a completion can be printed for."""
LANGUAGES = ("en", "zh")
"""Languages of the report; here so that the help needs none of the modules that make one."""


class Parser(argparse.ArgumentParser):
    """A parser that reports errors in the form of all other errors of XSlim."""

    def __init__(self, **options: object) -> None:
        super().__init__(formatter_class=_HelpFormatter, add_help=False, **options)  # type: ignore[arg-type]

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing usage and leaving the process."""
        first = "xslim init MODEL writes a configuration; " if "required: -c/--config" in message else ""
        raise ConfigError(message, hint=f"{first}see {self.prog} --help")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=27, width=79)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        # "-c, --config FILE" instead of "-c FILE, --config FILE": one line per option.
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(action.option_strings)} {action.metavar or action.dest.upper()}"


def add_common_arguments(parser: argparse.ArgumentParser, about_help: str = "show this help") -> None:
    """Add the options of every command; rarely used ones share one line of the help."""
    parser.add_argument("-h", "--help", action="help", help=about_help)
    parser.add_argument("--quiet", action="store_true", help="log less; or --verbose, --debug, --log-json")
    parser.add_argument("--verbose", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--log-json", action="store_true", help=argparse.SUPPRESS)


def names(text: str) -> list[str]:
    """Split a comma-separated list."""
    return [name for name in (part.strip() for part in text.split(",")) if name]
