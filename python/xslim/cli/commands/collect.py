"""``xslim collect``: calibrate on a part of the samples and keep the sketches."""

from __future__ import annotations

import argparse
import re

from xslim.errors import ConfigError

SHARD = re.compile(r"([1-9]\d*)/([1-9]\d*)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the configuration, the shard and the output file."""
    parser.add_argument("-c", "--config", metavar="FILE", required=True, help="JSON configuration")
    parser.add_argument("--shard", metavar="I/N", default="1/1", help="the I-th of N parts (default 1/1)")
    parser.add_argument("-o", "--output", metavar="FILE", required=True, help="sketch file to write")


def run(options: argparse.Namespace) -> int:
    """Collect one shard."""
    from xslim.commands.collect import collect_shard

    collect_shard(options.config, parse_shard(options.shard), options.output)
    return 0


def parse_shard(text: str) -> tuple[int, int]:
    """Parse ``I/N``, counted from 1, into ``(index, count)``, counted from 0.

    Raises
    ------
    ConfigError
        The text has another form, or I exceeds N.
    """
    match = SHARD.fullmatch(text)
    if match is None or int(match[1]) > int(match[2]):
        raise ConfigError(f"{text!r} is not I/N with I from 1 to N", where="--shard", hint="such as 2/4")
    return int(match[1]) - 1, int(match[2])
