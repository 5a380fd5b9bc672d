"""Print a file for a shell that completes commands, options and file names."""

from __future__ import annotations

import argparse

from xslim.cli import flat
from xslim.cli.commands import COMMANDS
from xslim.cli.parser import Parser, add_common_arguments
from xslim.errors import ConfigError

FILES = ("FILE", "PATH", "FOLDER", "MODEL", "MANIFEST", "A", "B")
"""Names in the help of arguments that are paths."""


def completion(shell: str) -> str:
    """Return the completion of the whole command line for a shell.

    Raises
    ------
    ConfigError
        The package shtab, which writes it, is not installed.
    """
    try:
        import shtab
    except ImportError as error:
        raise ConfigError(
            "completion is written by the package shtab, which is not installed",
            where="--print-completion",
            hint="pip install 'xslim[completion]', or pip install shtab",
        ) from error
    parser = flat.make_parser()
    commands = parser.add_subparsers(parser_class=Parser)
    for name, command in COMMANDS.items():
        own = commands.add_parser(name, help=command.description)
        command.add_arguments(own)
        add_common_arguments(own)
        _complete_files(own, shtab.FILE)
    _complete_files(parser, shtab.FILE)
    return str(shtab.complete(parser, shell=shell)).rstrip("\n")


def _complete_files(parser: argparse.ArgumentParser, files: object) -> None:
    """Tell shtab which arguments are paths."""
    for action in parser._actions:
        if action.metavar in FILES:
            action.complete = files  # type: ignore[attr-defined]
