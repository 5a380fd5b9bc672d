"""``xslim init``: look at a model and write a configuration to start from."""

from __future__ import annotations

import argparse
from pathlib import Path

from xslim.cli.text import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the data folders and the output file."""
    parser.add_argument("model", metavar="MODEL", help="ONNX model")
    parser.add_argument(
        "--data",
        metavar="FOLDER",
        action="append",
        default=[],
        help="folder with calibration files, or INPUT=FOLDER for one of several inputs; may be repeated",
    )
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="configuration to write (default MODEL's name .json)"
    )


def run(options: argparse.Namespace) -> int:
    """Write the configuration, and a list file for every folder."""
    from xslim.commands.init import write_starter

    output = Path(options.output) if options.output else None
    written = write_starter(Path(options.model), options.data, output)
    for path in written:
        say(f"wrote {path}")
    say(f"Check what is marked CHECK, then run: xslim -c {written[-1]}")
    return 0
