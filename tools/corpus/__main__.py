"""``python -m tools.corpus FOLDER``: the table of every command over every model."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tools.corpus.commands import COMMANDS
from tools.corpus.models import fetch_packages, in_folder, write_backend_models
from tools.corpus.process import Limits, preload
from tools.corpus.record import Row, changes, read
from tools.corpus.table import markdown
from tools.corpus.work import Settings, through_commands


def main(argv: Sequence[str] | None = None) -> int:
    """Run the corpus.

    Returns
    -------
    int
        0 when every run succeeded or refused its input properly, 1 when one failed, 2 without a model.
    """
    options = _parser().parse_args(argv)
    settings = Settings(
        options.commands, Limits(options.seconds, options.megabytes), options.samples, options.data
    )
    with ExitStack() as stack:
        folder = options.folder
        if options.backend or options.packages:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="corpus-models-")))
            if options.backend:
                write_backend_models(folder)
            else:
                fetch_packages(options.packages, folder)
        models = in_folder(folder, options.only)[options.part[0] - 1 :: options.part[1]] if folder else []
        if not models:
            print("corpus: no model", file=sys.stderr)
            return 2
        preload()
        rows = _run(models, folder, settings, options.record)
    print(markdown(rows, options.commands))
    if options.against:
        print("\nChanges:\n")
        print("\n".join(changes(read(options.against), rows)) or "none")
    return int(any(row.failed for row in rows))


def _run(models: list[Path], folder: Path, settings: Settings, record: Path | None) -> list[Row]:
    rows: list[Row] = []
    with ExitStack() as stack:
        file = stack.enter_context(record.open("w", encoding="utf-8")) if record else None
        for number, model in enumerate(models, 1):
            name = str(model.relative_to(folder).with_suffix(""))
            for row in through_commands(model.absolute(), name, settings):
                rows.append(row)
                if file:
                    print(row.line(), file=file, flush=True)
                if row.failed:
                    place = f"{number}/{len(models)} {name} {row.command}"
                    print(f"{place}: {row.outcome}: {row.message}", file=sys.stderr)
    return rows


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="corpus", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("folder", nargs="?", type=_folder, help="folder of models")
    source.add_argument("--backend", action="store_true", help="the models of onnx's backend tests")
    source.add_argument("--packages", type=Path, metavar="TOML", help="models of packages, downloaded by pip")
    parser.add_argument("--commands", type=_commands, default=list(COMMANDS), metavar="A,B")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="models whose path matches")
    parser.add_argument("--part", type=_part, default=(1, 1), metavar="I/N", help="every Nth model")
    parser.add_argument(
        "--data", type=_folder, help="samples: <model>.npz, <model>.*.npz; default: beside the model"
    )
    parser.add_argument("--samples", type=int, default=8, help="drawn for calibration where none are given")
    parser.add_argument("--seconds", type=float, default=300, help="time limit of each command")
    parser.add_argument("--megabytes", type=int, default=8192, help="memory limit of each command")
    parser.add_argument("--record", type=Path, metavar="JSONL", help="write every run as a line of JSON")
    parser.add_argument("--against", type=Path, metavar="JSONL", help="show what changed since that record")
    return parser


def _folder(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return path


def _commands(text: str) -> list[str]:
    names = text.split(",")
    unknown = [name for name in names if name not in COMMANDS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(COMMANDS)}")
    return names


def _part(text: str) -> tuple[int, int]:
    part, parts = (int(number) for number in text.split("/"))
    if not 1 <= part <= parts:
        raise argparse.ArgumentTypeError("the part is I/N with 1 <= I <= N, such as 2/4")
    return part, parts


if __name__ == "__main__":
    sys.exit(main())
