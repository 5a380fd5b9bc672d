"""Record the result of each command as JSON lines, and compare two such records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

OK, REFUSED, SKIPPED = "ok", "refused", "skipped"
"""Outcomes that are no failure."""

INTERNAL, CRASH, TIMEOUT, TRACEBACK = "internal error", "crash", "timeout", "traceback"
DIFFERS, BROKEN, ACCEPTED, LEFT = "differs", "broken result", "accepts what does not run", "left behind"

WORSE_DECIBELS = 1.0
SLOWER, SLOWER_SECONDS = 1.5, 1.0
"""Compared runs: what is reported as a loss of accuracy or of speed."""


@dataclass(frozen=True)
class Row:
    """One command on one model."""

    model: str
    command: str
    outcome: str
    status: int | None = None
    seconds: float = 0.0
    peak_megabytes: float = 0.0
    decibels: float | None = None
    difference: float | None = None
    message: str = ""

    @property
    def failed(self) -> bool:
        """Whether the corpus fails for this row."""
        return self.outcome not in (OK, REFUSED, SKIPPED)

    def line(self) -> str:
        """Return the row as a line of JSON; figures beyond every number are text."""
        fields = asdict(
            replace(self, seconds=round(self.seconds, 2), peak_megabytes=round(self.peak_megabytes))
        )
        if self.difference is not None and self.difference == float("inf"):
            fields["difference"] = "inf"
        return json.dumps(fields, ensure_ascii=False)


def read(path: Path) -> Iterator[Row]:
    """Read the rows of a record."""
    for line in path.read_text().splitlines():
        fields = json.loads(line)
        if fields["difference"] == "inf":
            fields["difference"] = float("inf")
        yield Row(**fields)


def changes(before: Iterable[Row], after: Iterable[Row]) -> Iterator[str]:
    """Yield what became different from one run to another, one line each."""
    old = {(row.model, row.command): row for row in before}
    for new in after:
        was = old.get((new.model, new.command))
        if was is None:
            continue
        where = f"{new.model} {new.command}"
        if was.outcome != new.outcome:
            yield f"{where}: {was.outcome} -> {new.outcome}"
        if was.decibels is not None and new.decibels is not None:
            gained = new.decibels - was.decibels
            if abs(gained) > WORSE_DECIBELS:
                yield f"{where}: {was.decibels:.1f} dB -> {new.decibels:.1f} dB"
        slower = new.seconds > was.seconds * SLOWER and new.seconds - was.seconds > SLOWER_SECONDS
        if slower and was.outcome == new.outcome:
            yield f"{where}: {was.seconds:.1f} s -> {new.seconds:.1f} s"
