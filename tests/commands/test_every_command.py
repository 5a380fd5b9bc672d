"""Every sub-command is a file of its own, which can be called without the command line."""

from __future__ import annotations

import inspect
from argparse import ArgumentParser
from importlib import import_module

import pytest

from xslim.cli.commands import COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_the_arguments_are_the_parameters_of_run(name: str) -> None:
    parser = ArgumentParser(add_help=False)
    COMMANDS[name].add_arguments(parser)
    run = import_module(f"xslim.commands.{name}").run
    # Every command has the option --lang; most leave it to the language of their messages.
    own = [name for name in inspect.signature(run).parameters if name != "lang"]
    assert [action.dest for action in parser._actions] == own
