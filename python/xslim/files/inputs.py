"""Refuse outputs that would replace an input of the same command."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from xslim.errors import OutputError

MOST_LINKS = 40
"""Largest number of symbolic links to follow in one path; the limit of Linux is the same."""

Identity = str | tuple[int, int]


@dataclass(frozen=True)
class InputFile:
    """A file that a command reads.

    Attributes
    ----------
    path : Path
        Path of the file as the user wrote it.
    role : str
        Description of the file for messages, such as "the model".
    """

    path: Path
    role: str


def same_file(first: Path, second: Path) -> bool:
    """Whether writing one path changes the file at the other, through symbolic or hard links."""
    return not _identities(first).isdisjoint(_identities(second))


def refuse_inputs(outputs: Iterable[Path], inputs: Iterable[InputFile]) -> None:
    """Refuse outputs that would replace an input.

    If standard output is redirected to a file, that file counts as an output.

    Parameters
    ----------
    outputs : iterable of Path
        The paths that a command is going to write.
    inputs : iterable of InputFile
        The files that the command reads. They are examined only if an output exists, because a path that does
        not exist cannot be an input.

    Raises
    ------
    OutputError
        An output would replace an input; the error names both.
    """
    existing = {
        identity: str(output)
        for output in outputs
        if os.path.lexists(output)
        for identity in _identities(output)
    }
    printed_to = _printed_to()
    if not existing and not printed_to:
        return
    for item in inputs:
        for identity in _identities(item.path):
            if identity in existing:
                raise OutputError(
                    f"would replace an input, {item.role} {item.path}",
                    where=existing[identity],
                    hint="name another output: -o, output_prefix or working_dir",
                )
            if identity in printed_to:
                raise OutputError(
                    f"would replace an input, {item.role} {item.path}",
                    where="standard output",
                    hint="redirect it to another file; a shell empties the file before xslim starts",
                )


def _identities(path: Path) -> set[Identity]:
    """Return the identities (path and inode) of a path, of every link on its way, and of the final file."""
    found: set[Identity] = set()
    # A path that cannot be examined has no other identity than the path itself.
    with suppress(OSError, ValueError):
        entry = _place(path)
        for _ in range(MOST_LINKS):
            found.add(str(entry))
            status = entry.lstat()
            # The inode number is 0 on file systems that have none.
            if status.st_ino:
                found.add((status.st_dev, status.st_ino))
            if not stat.S_ISLNK(status.st_mode):
                break
            entry = _place(entry.parent / entry.readlink())
    return found


def _place(path: Path) -> Path:
    """Return the path with all symbolic links resolved except the last component."""
    if path.name in {"", os.pardir}:
        return Path(os.path.realpath(path))
    return Path(os.path.realpath(path.parent), path.name)


def _printed_to() -> set[Identity]:
    """Return the identity of the regular file to which standard output is redirected, if any."""
    found: set[Identity] = set()
    # Standard output may be closed, or an object in memory.
    with suppress(OSError, ValueError, AttributeError):
        for descriptor in (1, sys.stdout.fileno()):
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                found.add((status.st_dev, status.st_ino))
    return found
