"""``xslim compare``: the outputs of two models side by side."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from xslim.cli.text import say, say_json
from xslim.errors import ConfigError

if TYPE_CHECKING:
    from xslim.commands.compare import OutputPair

HEADS = ("output", "SQNR dB", "cosine", "MSE", "largest error", "top-1 same", "equal")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add both models, the data and the form of the answer."""
    parser.add_argument("first", metavar="A", help="reference model")
    parser.add_argument("second", metavar="B", help="the other model")
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="configuration (.json), list file, folder or .npz; without it one random input",
    )
    parser.add_argument("--samples", metavar="N", type=int, default=16, help="at most N samples (default 16)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print one row per output."""
    from xslim.commands.compare import compare_models

    if options.samples < 1:
        raise ConfigError("must be at least 1", where="--samples")
    data = Path(options.data) if options.data else None
    count, outputs = compare_models(Path(options.first), Path(options.second), data, options.samples)
    if options.json:
        rows = [{key: _finite(value) for key, value in asdict(output).items()} for output in outputs]
        say_json({"samples": count, "outputs": rows})
        return 0
    say(*_table(outputs))
    say(f"{count} sample{'s' if count > 1 else ''}{'' if data else ' of random numbers'}")
    return 0


def _table(outputs: Sequence[OutputPair]) -> Iterator[str]:
    rows = [HEADS, *(_row(output) for output in outputs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    for name, *cells in rows:
        rest = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        yield f"{name:<{widths[0]}}  {rest}"


def _row(output: OutputPair) -> tuple[str, ...]:
    return (
        output.name,
        _format(output.sqnr_db, ".2f"),
        _format(output.cosine, ".5f"),
        _format(output.mse, ".4g"),
        _format(output.max_abs_error, ".4g"),
        _format(output.top1_agreement, ".1%"),
        _format(output.equal, ".1%"),
    )


def _format(value: float | None, form: str) -> str:
    return "-" if value is None else "exact" if math.isinf(value) else format(value, form)


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
