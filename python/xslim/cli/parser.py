"""The argument parser that all commands share."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from xslim.errors import ConfigError
from xslim.texts import LANGUAGES, spoken
from xslim.texts.columns import wrapped

COMMON_FLAGS = ("--quiet", "--verbose", "--debug", "--log-json")
"""Options of every command, which may also stand before the command."""
LANG = "--lang"
"""The option of every command that has a value: the language of help, messages and report."""
SHELLS = ("bash", "zsh", "tcsh")
"""Shells that a completion can be printed for."""


WIDTH = 79
"""Columns of the help."""


class Parser(argparse.ArgumentParser):
    """A parser that reports errors in the form of all other errors of XSlim."""

    def __init__(self, **options: object) -> None:
        super().__init__(formatter_class=_HelpFormatter, add_help=False, **options)  # type: ignore[arg-type]
        self._positionals.title = spoken("positional arguments")
        self._optionals.title = spoken("options")

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing usage and leaving the process."""
        needs_config = "required: -c/--config" in message
        raise ConfigError(
            message,
            hint=f"xslim init MODEL writes a configuration; see {self.prog} --help"
            if needs_config
            else f"see {self.prog} --help",
        )


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=27, width=WIDTH)

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[Any],
        prefix: str | None = None,
    ) -> None:
        super().add_usage(usage, actions, groups, spoken("usage: ") if prefix is None else prefix)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help and spoken(action.help)

    def _split_lines(self, text: str, width: int) -> list[str]:
        return wrapped(text, width)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        # "-c, --config FILE" instead of "-c FILE, --config FILE": one line per option.
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(action.option_strings)} {action.metavar or action.dest.upper()}"


def add_common_arguments(
    parser: argparse.ArgumentParser, about_help: str = "show this help; --lang zh: everything in Chinese"
) -> None:
    """Add the options of every command; rarely used ones share one line of the help."""
    parser.add_argument("-h", "--help", action="help", help=about_help)
    parser.add_argument(LANG, choices=LANGUAGES, help=argparse.SUPPRESS)
    parser.add_argument("--quiet", action="store_true", help="log less; or --verbose, --debug, --log-json")
    parser.add_argument("--verbose", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--debug", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--log-json", action="store_true", help=argparse.SUPPRESS)


def names(text: str) -> list[str]:
    """Split a comma-separated list."""
    return [name for name in (part.strip() for part in text.split(",")) if name]


def language_option(arguments: Sequence[str]) -> str | None:
    """Return the language that the arguments choose; None if they choose none, or an unknown one."""
    for index, argument in enumerate(arguments):
        flag, _, value = argument.partition("=")
        if flag == LANG:
            chosen = value or next(iter(arguments[index + 1 :]), "")
            return chosen if chosen in LANGUAGES else None
    return None


def options_ahead(arguments: Sequence[str]) -> int:
    """Return how many arguments before the command are options of every command, with their values."""
    count = 0
    while count < len(arguments) and (
        arguments[count] in COMMON_FLAGS or arguments[count].partition("=")[0] == LANG
    ):
        count += 2 if arguments[count] == LANG else 1
    return min(count, len(arguments))
