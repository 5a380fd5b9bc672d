"""The inputs of a command survive it: no output may take the place of one."""

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
"""As many symbolic links as Linux follows in one path."""

Identity = str | tuple[int, int]


@dataclass(frozen=True)
class InputFile:
    """A file that a command reads.

    Attributes
    ----------
    path : Path
        The file, as the user named it.
    role : str
        What it is, for messages: "the model".
    """

    path: Path
    role: str


def same_file(first: Path, second: Path) -> bool:
    """Whether writing one path changes what the other stands for: through links, hard links included."""
    return not _identities(first).isdisjoint(_identities(second))


def refuse_inputs(outputs: Iterable[Path], inputs: Iterable[InputFile]) -> None:
    """Refuse outputs that would replace an input.

    The file that standard output goes to counts as an output.

    Parameters
    ----------
    outputs : iterable of Path
        What a command is about to write.
    inputs : iterable of InputFile
        What it reads. They are looked at only if an output exists: what does not exist is no input.

    Raises
    ------
    OutputError
        Names the output and the input.
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
    """The path, every link on the way, and the file at the end: each by its place and by its inode."""
    found: set[Identity] = set()
    # What cannot be looked at has no identity beyond its place.
    with suppress(OSError, ValueError):
        entry = _place(path)
        for _ in range(MOST_LINKS):
            found.add(str(entry))
            status = entry.lstat()
            # Some file systems have no inode numbers.
            if status.st_ino:
                found.add((status.st_dev, status.st_ino))
            if not stat.S_ISLNK(status.st_mode):
                break
            entry = _place(entry.parent / entry.readlink())
    return found


def _place(path: Path) -> Path:
    """The path with every link resolved but the last."""
    if path.name in {"", os.pardir}:
        return Path(os.path.realpath(path))
    return Path(os.path.realpath(path.parent), path.name)


def _printed_to() -> set[Identity]:
    """The regular file that standard output goes to, if it does."""
    found: set[Identity] = set()
    # It may be closed, or something in memory.
    with suppress(OSError, ValueError, AttributeError):
        for descriptor in (1, sys.stdout.fileno()):
            status = os.fstat(descriptor)
            if stat.S_ISREG(status.st_mode):
                found.add((status.st_dev, status.st_ino))
    return found
