"""Run all commands on one model."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from tools.corpus import record
from tools.corpus.commands import COMMANDS, Command, Place
from tools.corpus.judge import Judgement, Original, compare, try_original
from tools.corpus.process import ESCAPED, Ended, Limits, run
from tools.corpus.record import Row
from tools.corpus.samples import Sample, draw, given

MOST_DIFFERENCE = 1e-3
"""Greatest relative difference between a slimmed model and the original."""

JUDGED = 2
"""Samples that are drawn for judging; calibration does not see them."""

REFUSED = 2
"""Exit status of a command that refuses its input."""

KEPT = frozenset({"data", "config.json", "log.txt", ".ses"})
"""Files of the corpus itself, and one that onnxruntime keeps in the folder for temporary files."""

NOISES = 4
"""A slimmed model may differ by this many times the change that onnxruntime's optimisations make in the
original."""


@dataclass(frozen=True)
class Settings:
    """How the corpus runs: which commands, within which limits, with how many samples of calibration."""

    commands: Sequence[str]
    limits: Limits
    samples: int
    data: Path | None


def through_commands(model: Path, name: str, settings: Settings) -> Iterator[Row]:
    """Run the commands on a model and yield a row for each."""
    with tempfile.TemporaryDirectory(prefix="corpus-") as scratch:
        folder = Path(scratch)
        found = given(model, settings.data or model.parent)
        original = _original(model, name, found, settings.limits, folder)
        calibration, judged = _samples(name, original, found, settings)
        for command_name in settings.commands:
            place = Place(model, folder / command_name, calibration)
            place.folder.mkdir()
            row = _row(place, COMMANDS[command_name], original, judged, settings.limits)
            yield replace(row, model=name, command=command_name)
            shutil.rmtree(place.folder, ignore_errors=True)


def _original(model: Path, name: str, found: list[Sample], limits: Limits, folder: Path) -> Original:
    answer = folder / "original.json"

    def job() -> int:
        try_original(model, found, name).write(answer)
        return 0

    ended = run(job, folder / "original.txt", limits, folder)
    if ended.status == 0:
        return Original.read(answer)
    return Original(loads=True, runs=False, why=f"the original model ends onnxruntime: {ended.status}")


def _samples(
    name: str, original: Original, found: list[Sample], settings: Settings
) -> tuple[list[Sample], list[Sample]]:
    """Return samples for calibration and for judging; of several given samples the last quarter judges."""
    if not original.runs:
        return [], []
    if found:
        kept = len(found) // 4
        return (found[:-kept], found[-kept:]) if kept else (found, found)
    if original.recipe is None:
        return [], []
    drawn = [
        draw(original.inputs, original.recipe, f"{name}:{index}")
        for index in range(settings.samples + JUDGED)
    ]
    usable = [sample for sample in drawn if sample is not None]
    return usable[JUDGED:], usable[:JUDGED]


def _row(place: Place, command: Command, original: Original, judged: list[Sample], limits: Limits) -> Row:
    if command.needs_samples and not place.samples:
        return Row("", "", record.SKIPPED, message=original.why)
    before = place.model.stat()
    arguments = command.arguments(place)
    ended = run(partial(_command_line, arguments), place.folder / "log.txt", limits, place.folder)
    after = place.model.stat()
    row = Row(
        "", "", *_outcome(ended, command), ended.seconds, ended.peak_megabytes, message=_last_words(ended)
    )
    if (before.st_mtime_ns, before.st_size, before.st_ino) != (
        after.st_mtime_ns,
        after.st_size,
        after.st_ino,
    ):
        return replace(row, outcome=record.LEFT, message="the input was changed")
    left = sorted({path.name for path in place.folder.iterdir()} - KEPT)
    if row.outcome == record.REFUSED and left:
        return replace(row, outcome=record.LEFT, message=f"a refused run left {', '.join(left)}")
    if row.outcome != record.OK:
        return row
    unfinished = [name for name in left if name.startswith(".") or name.endswith(".writing") or "tmp" in name]
    if unfinished:
        return replace(row, outcome=record.LEFT, message=f"the run left {', '.join(unfinished)}")
    if original.is_refused and command.writes:
        return replace(row, outcome=record.ACCEPTED, message=original.why)
    if command.writes and original.runs and judged:
        return _judged(row, place, command, original, judged, limits)
    return row


def _command_line(arguments: list[str]) -> int:
    from xslim.cli import main

    return main(arguments)


def _outcome(ended: Ended, command: Command) -> tuple[str, int | None]:
    if ended.status is None:
        return record.TIMEOUT, None
    if ended.status < 0 or ended.status == ESCAPED:
        return record.CRASH, ended.status
    if "Traceback (most recent call last)" in ended.log:
        return record.TRACEBACK, ended.status
    if "xslim: internal error" in ended.log or ended.status not in (*command.good, REFUSED):
        return record.INTERNAL, ended.status
    return record.REFUSED if ended.status == REFUSED else record.OK, ended.status


def _last_words(ended: Ended) -> str:
    """Return the error in the log, or its last line."""
    lines = [line.strip() for line in ended.log.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("xslim: error", "xslim: internal error"))]
    return (errors or lines or [""])[-1][:400] if ended.status != 0 else ""


def _judged(
    row: Row, place: Place, command: Command, original: Original, judged: list[Sample], limits: Limits
) -> Row:
    answer = place.folder / "judgement.json"

    def job() -> int:
        answer.write_text(json.dumps(asdict(compare(place.model, place.result, judged))))
        return 0

    ended = run(job, place.folder / "judge.txt", limits, place.folder)
    if ended.status != 0:
        words = _last_words(ended)
        return replace(
            row, outcome=record.BROKEN, message=f"the result ends onnxruntime: {ended.status} {words}"
        )
    found = Judgement(**json.loads(answer.read_text()))
    row = replace(row, decibels=found.decibels, difference=found.difference)
    if found.fault:
        return replace(row, outcome=record.BROKEN, message=found.fault)
    if not original.repeats:
        return replace(row, decibels=None, difference=None, message="the original gives no two equal results")
    most = max(MOST_DIFFERENCE, NOISES * found.noise)
    if command.is_exact and found.difference is not None and found.difference > most:
        return replace(row, outcome=record.DIFFERS, message=f"relative difference {found.difference:.2g}")
    return row
