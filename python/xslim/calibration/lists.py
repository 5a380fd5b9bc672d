"""List files: one calibration file per line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xslim.config import resolve_path
from xslim.errors import DataError


@dataclass(frozen=True)
class Entry:
    """One calibration file and the place that names it.

    Attributes
    ----------
    path : Path
        The file, absolute.
    where : str
        List file, line and file, for error messages.
    """

    path: Path
    where: str


def read_list(list_path: str, base_dir: Path | None) -> list[Entry]:
    """Read a list file; blank lines and CRLF are allowed, paths may be relative to the list's folder.

    Raises
    ------
    DataError
        The list cannot be read or names no file.
    """
    path = resolve_path(list_path, base_dir)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(
            "there is no such list file",
            where=str(path),
            hint="data_list_path is relative to the configuration",
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read the list file: {error}",
            where=str(path),
            hint="it is a text file, one path per line",
        ) from error
    lines = enumerate((line.strip() for line in text.split("\n")), start=1)
    entries = [Entry(path.parent / line, f"{path}, line {number}: {line}") for number, line in lines if line]
    if not entries:
        raise DataError("the list file names no file", where=str(path), hint="write one path per line")
    return entries


def check_files(entries: list[Entry]) -> None:
    """Refuse the first entry that is not a file.

    Raises
    ------
    DataError
        Names list, line and file.
    """
    for entry in entries:
        try:
            if entry.path.is_file():
                continue
        except (OSError, ValueError):
            pass
        problem = "this is a folder, not a file" if entry.path.is_dir() else "there is no such file"
        hint = "paths are relative to the list: correct or remove the line"
        raise DataError(problem, where=entry.where, hint=hint)
