"""What can be read to its end."""

from __future__ import annotations

import stat
from pathlib import Path

_WITHOUT_CONTENT = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


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
