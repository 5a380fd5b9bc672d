"""List files: one calibration file per line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xslim.config import (
    CalibrationParameters,
    InputParameters,
    expand_home,
    missing_hint,
    resolve_path,
    search_hint,
)
from xslim.errors import DataError
from xslim.files import require_content

BINARY_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".npy", ".npz", ".bin", ".raw")
"""File endings of samples. Users sometimes give a sample file in place of a list file."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One calibration file and the line of the list that names it.

    A list may have millions of lines, so an entry holds as little as possible.

    Attributes
    ----------
    list_file : Path
        Absolute path of the list file.
    line : int
        Number of the line, from 1.
    name : str
        The path of the calibration file, as written in the line.
    """

    list_file: Path
    line: int
    name: str

    @property
    def path(self) -> Path:
        """The file, absolute."""
        return self.list_file.parent / expand_home(self.name)

    @property
    def where(self) -> str:
        """List file, line and file, for error messages."""
        return f"{self.list_file}, line {self.line}: {self.name}"


def read_list(list_path: str, base_dir: Path | None) -> list[Entry]:
    """Read a list file.

    Blank lines and CRLF are allowed. Relative paths start at the folder of the list.

    Raises
    ------
    DataError
        The list cannot be read or names no file.
    """
    path = resolve_path(list_path, base_dir)
    try:
        require_content(path)
        with path.open(encoding="utf-8-sig", newline="\n") as lines:
            stripped = enumerate((line.strip() for line in lines), start=1)
            entries = [Entry(path, number, name) for number, name in stripped if name]
    except FileNotFoundError:
        raise DataError(
            "there is no such list file",
            where=str(path),
            hint=search_hint("data_list_path", list_path, base_dir),
        ) from None
    except IsADirectoryError:
        raise DataError(
            "this is a folder, not a list file",
            where=str(path),
            hint="list its files in a text file, one path per line; xslim init --data FOLDER does so",
        ) from None
    except UnicodeDecodeError as error:
        hint = "save the list as UTF-8"
        if path.suffix.lower() in BINARY_ENDINGS:
            hint = "data_list_path names a text file with one path per line, not a sample"
        raise DataError(f"the list file is not UTF-8 text: {error}", where=str(path), hint=hint) from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"cannot read the list file: {error}",
            where=str(path),
            hint="it is a text file, one path per line",
        ) from error
    if not entries:
        raise DataError("the list file names no file", where=str(path), hint="write one path per line")
    return entries


def read_entries(parameters: InputParameters, base_dir: Path | None) -> list[Entry]:
    """Return the calibration files of an input: those of its list, or the paths that were given themselves.

    Raises
    ------
    DataError
        The list cannot be read or names no file.
    """
    if parameters.paths is not None:
        place = (base_dir or Path()).absolute() / GIVEN
        return [Entry(place, number, name) for number, name in enumerate(parameters.paths, start=1)]
    return read_list(parameters.data_list_path or "", base_dir)


GIVEN = "data_list_path"
"""Stands in messages for a list file if the configuration holds the paths themselves."""

MOST_UNSEEN = 8
"""Largest number of samples on which a result is compared and that calibration does not use, by default."""


def beyond(entries: Sequence[Entry], calibration: CalibrationParameters) -> list[Entry]:
    """Return a few existing files behind the first ``calibration_step`` entries, evenly spread."""
    rest = entries[calibration.calibration_step :]
    wanted = calibration.comparison_samples or MOST_UNSEEN
    chosen = (rest[position] for position in evenly_spread(len(rest), wanted))
    return [entry for entry in chosen if _problem(entry.path) is None]


def evenly_spread(available: int, wanted: int) -> list[int]:
    """Return at most `wanted` positions, each in the middle of a part of the available ones."""
    count = min(available, wanted)
    return [(2 * number + 1) * available // (2 * count) for number in range(count)]


def check_files(entries: list[Entry]) -> None:
    """Refuse the first entry that is not a file.

    Raises
    ------
    DataError
        The entry is not a file; the error names the list, the line and the file.
    """
    for entry in entries:
        problem = _problem(entry.path)
        if problem is None:
            continue
        hint = missing_hint(entry.name, "paths are relative to the list: correct or remove the line")
        raise DataError(problem, where=entry.where, hint=hint)


def require_files(calibration: CalibrationParameters, base_dir: Path | None) -> None:
    """Refuse lists that are missing and files of a run that are missing, before any work starts.

    Raises
    ------
    DataError
        A list cannot be read, or one of its files is not a file.
    """
    for entry in calibration.input_parameters:
        if entry.has_files:
            check_files(read_entries(entry, base_dir)[: calibration.calibration_step])


def _problem(path: Path) -> str | None:
    """Return why a path is not a file, or None if it is one."""
    try:
        require_content(path)
        if path.is_file():
            return None
        return "this is a folder, not a file" if path.is_dir() else "there is no such file"
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
