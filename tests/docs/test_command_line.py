"""The documents name only options and commands that exist, and the reference names all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xslim.cli import flat
from xslim.cli.commands import COMMANDS
from xslim.cli.parser import Parser
from xslim.cli.program import HELP

from . import markdown
from .conftest import DOCUMENTS, ROOT, name

REFERENCE = ROOT / "docs" / "command-line.md"
OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")


def options_of(command: str | None) -> set[str]:
    """Return the options of a command, or of the program without one, read from the help."""
    parser = flat.make_parser() if command is None else Parser(prog=command)
    if command is not None:
        COMMANDS[command].add_arguments(parser)
    return set(OPTION.findall(parser.format_help()))


def code_lines(document: Path) -> list[str]:
    """Return every line of code that calls xslim, and inline code that is an option."""
    blocks = [block.text for block in markdown.blocks(document) if block.language in ("bash", "shell")]
    lines = [line for text in blocks for line in text.splitlines()]
    inline = markdown.inline_code(document)
    return [line for line in (*lines, *inline) if line.startswith(("xslim ", "python -m xslim ", "-"))]


def test_help_has_options() -> None:
    assert {"--config", "--input_path", "--output_path"} <= set(
        OPTION.findall(flat.make_parser().format_help())
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_options_exist(document: Path) -> None:
    named = {option for line in code_lines(document) for option in OPTION.findall(line)}
    assert named <= set().union(*(options_of(command) for command in (None, *COMMANDS)))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_commands_exist(document: Path) -> None:
    named = {line.split()[1] for line in code_lines(document) if re.match(r"xslim [a-z]", line)}
    assert named <= {*COMMANDS, HELP}


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_every_option_is_documented(command: str | None) -> None:
    named = {option for code in markdown.inline_code(REFERENCE) for option in OPTION.findall(code)}
    assert options_of(command) - {"--help"} <= named


def test_every_command_has_a_section() -> None:
    assert {f"xslim-{command}" for command in COMMANDS} <= markdown.anchors(REFERENCE)
