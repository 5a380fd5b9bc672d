"""The measured rows: one line of JSON per row, so that an interrupted run can be continued."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

Key = tuple[str, str, int | None, int | None, int]


@dataclass(frozen=True)
class Row:
    """One quantised model on data that calibration never saw.

    Attributes
    ----------
    task, method : str
        The task, and ``xslim``, ``dynamic`` or the name of another quantiser.
    precision, finetune : int or None
        Levels of our static runs.
    number : int
        Number of the calibration list.
    error : str
        Why there is no model; empty if there is one.
    metric, float_value, value, agreement
        The task's own measure: its name, its value for the float and for the quantised model, and the share
        of equal answers.
    sqnr_db : list of float
        Signal-to-noise ratio of every output, in dB.
    cosine : float or None
        Mean cosine of the first output.
    own_db : list of float
        The signal-to-noise ratios that the run itself printed.
    operators, float_operators : int
        Number of operators, and of those outside int8 that multiply, add or apply a function.
    int8_share : float or None
        Share of the multiply-accumulates in int8.
    subgraphs : int
        Number of parts that the default target takes.
    seconds : float
        Duration of the whole run.
    """

    task: str
    method: str
    precision: int | None
    finetune: int | None
    number: int
    error: str = ""
    metric: str = ""
    float_value: float | None = None
    value: float | None = None
    agreement: float | None = None
    sqnr_db: list[float] = field(default_factory=list)
    cosine: float | None = None
    own_db: list[float] = field(default_factory=list)
    operators: int = 0
    float_operators: int = 0
    int8_share: float | None = None
    subgraphs: int = 0
    seconds: float = 0.0

    @property
    def key(self) -> Key:
        """What identifies the row."""
        return self.task, self.method, self.precision, self.finetune, self.number


def load(path: Path) -> dict[Key, Row]:
    """Return the rows of earlier runs; a later row replaces an earlier one of the same key."""
    if not path.exists():
        return {}
    rows = (Row(**json.loads(line)) for line in path.read_text("utf-8").splitlines() if line)
    return {row.key: row for row in rows}


def append(path: Path, row: Row) -> None:
    """Add a row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row)) + "\n")


def save(path: Path, rows: Iterable[Row]) -> None:
    """Write all rows."""
    path.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows), "utf-8")
