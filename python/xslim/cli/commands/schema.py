"""``xslim schema``: the JSON Schema of the configuration, for editors and other programs."""

from __future__ import annotations

import argparse

from xslim.cli.text import say_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the command has no options of its own."""
    del parser


def run(options: argparse.Namespace) -> int:
    """Print the schema."""
    from xslim.config import schema

    del options
    say_json(schema())
    return 0
