"""The results of a batch: kept in a file after every job, and shown as Markdown and HTML."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xslim.batch.manifest import Job
from xslim.errors import OutputError
from xslim.files import write_whole
from xslim.texts import spoken

if TYPE_CHECKING:
    from jinja2 import Template

logger = logging.getLogger(__name__)

STATE, TEXT, PAGE = "batch.json", "batch.md", "batch.html"
HEADS = (
    "job",
    "target",
    "result",
    "worst SQNR",
    "top-1 same",
    "int8",
    "subgraphs",
    "MB",
    "seconds",
    "sha256",
)


@dataclass(frozen=True)
class Row:
    """The result of one job.

    Attributes
    ----------
    name, target : str
        The job.
    key : str
        Fingerprint of what the result depends on.
    error : str
        Why the job failed; empty if it did not.
    sqnr_db, top1_agreement : float or None
        Of the worst output against the float model.
    on_random_input : bool
        Whether these were measured on random input, for want of calibration data.
    int8_share : float or None
        Share of the multiply-accumulates that are int8, 0 to 1.
    subgraphs : int or None
        Subgraphs of the target.
    bytes_before, bytes_after : int or None
        Sizes of the files.
    seconds : float or None
        Time of the job.
    sha256 : str
        Of the written model.
    """

    name: str
    target: str
    key: str
    error: str = ""
    sqnr_db: float | None = None
    top1_agreement: float | None = None
    on_random_input: bool = False
    int8_share: float | None = None
    subgraphs: int | None = None
    bytes_before: int | None = None
    bytes_after: int | None = None
    seconds: float | None = None
    sha256: str = ""

    def still_holds(self, job: Job, key: str) -> bool:
        """Whether the job need not run again: nothing has changed, and the model is there."""
        if self.error or self.key != key or not job.output.is_file():
            return False
        return hashlib.sha256(job.output.read_bytes()).hexdigest() == self.sha256

    def cells(self) -> tuple[str, ...]:
        """Return the row as text."""
        sizes = (
            f"{self.bytes_before / 1e6:.2f} → {self.bytes_after / 1e6:.2f}"
            if self.bytes_before is not None and self.bytes_after is not None
            else ""
        )
        return (
            self.name,
            self.target,
            spoken(self.error or "done"),
            _text(self.sqnr_db, ".2f", f" dB ({spoken('random input')})" if self.on_random_input else " dB"),
            _text(self.top1_agreement, ".1%"),
            _text(self.int8_share, ".1%"),
            _text(self.subgraphs, "d"),
            sizes,
            _text(self.seconds, ".1f"),
            self.sha256[:12],
        )


def _text(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{form}}{unit}"


def load_rows(folder: Path) -> dict[str, Row]:
    """Return the rows of an earlier batch in a folder, by name; none if its file is damaged."""
    file = folder / STATE
    try:
        return {row["name"]: Row(**row) for row in json.loads(file.read_text("utf-8"))["jobs"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s is not used: %s", file, error)
        return {}


def save_rows(folder: Path, rows: Sequence[Row]) -> None:
    """Write the results as JSON, Markdown and HTML; a full disk does not stop the batch."""
    texts: Mapping[str, str] = {
        STATE: json.dumps({"jobs": [asdict(row) for row in rows]}, indent=1) + "\n",
        TEXT: "\n".join(markdown(rows)) + "\n",
        PAGE: _template().render(
            title=spoken("Batch"), heads=_heads(), rows=[(row.cells(), bool(row.error)) for row in rows]
        ),
    }
    for name, text in texts.items():
        try:
            write_whole(folder / name, text)
        except OutputError as error:
            logger.warning("the table is not written: %s", error)
            return


def markdown(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"| {' | '.join(_heads())} |"
    yield "|" + "---|" * len(HEADS)
    for row in rows:
        cells = (cell.replace("|", "\\|").replace("\n", " ") for cell in row.cells())
        yield f"| {' | '.join(cells)} |"


def _heads() -> list[str]:
    return [spoken(head) for head in HEADS]


@cache
def _template() -> Template:
    from jinja2 import Environment, StrictUndefined

    text = resources.files(__package__ or "xslim.batch").joinpath("batch.html.j2").read_text("utf-8")
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True).from_string(text)


def row_of(job: Job, key: str, found: Mapping[str, Any]) -> Row:
    """Return the row of a job from its figures."""
    return Row(job.name, job.target, key, **found)
