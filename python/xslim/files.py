"""Writing files whole or not at all."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from xslim.errors import OutputError

_WITHOUT_CONTENT = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file aside in the same folder, then rename it: readers see the old content or the new.

    Parameters
    ----------
    path : Path
        The file; its folder exists.
    data : bytes or str
        Its content; text is written as UTF-8.

    Raises
    ------
    OutputError
        The place cannot be written.
    """
    content = data.encode() if isinstance(data, str) else data
    try:
        descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
            Path(aside).chmod(0o666 & ~_umask())
            Path(aside).replace(path)
        except BaseException:
            Path(aside).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OutputError(
            f"cannot write: {error.strerror or error}",
            where=str(path),
            hint="write to another folder: working_dir or -o",
        ) from error


def require_content(path: Path) -> None:
    """Refuse what has no content of its own: a pipe or a device would block a reader, or never end.

    Parameters
    ----------
    path : Path
        What is going to be read. A file, a folder and a path that leads nowhere pass: reading tells more.

    Raises
    ------
    OSError
        The path leads to a named pipe, a device or a socket. A path with a NUL character is a ValueError.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    for is_kind, name in _WITHOUT_CONTENT:
        if is_kind(mode):
            raise OSError(f"this is {name}, not a file")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
