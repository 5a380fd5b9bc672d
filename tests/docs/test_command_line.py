"""The documents name the options that the command line has, and the README names all of them."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from xslim.cli import flat
from xslim.cli.commands import COMMANDS
from xslim.cli.parser import Parser

from . import markdown
from .conftest import DOCUMENTS, ROOT, name

OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")


def known_options() -> set[str]:
    """Return the options of the program and of its commands, read from their help."""
    parsers = [flat.make_parser()]
    for command in COMMANDS:
        parsers.append(Parser(prog=command))
        import_module(f"xslim.cli.commands.{command}").add_arguments(parsers[-1])
    return {option for parser in parsers for option in OPTION.findall(parser.format_help())}


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
    assert named <= known_options()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_commands_exist(document: Path) -> None:
    named = {line.split()[1] for line in code_lines(document) if re.match(r"xslim [a-z]", line)}
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("readme", [ROOT / "README.md", ROOT / "README_zh.md"], ids=name)
def test_the_readme_names_every_option_and_command(readme: Path) -> None:
    text = "\n".join(code_lines(readme))
    options = set(OPTION.findall(flat.make_parser().format_help()))
    short = {"--config": "-c", "--input_path": "-i", "--output_path": "-o"}
    missing = {option for option in options if option not in text and f" {short.get(option)} " not in text}
    assert not missing
    assert not {command for command in COMMANDS if f"xslim {command}" not in text}
