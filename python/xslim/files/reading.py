"""Refuse paths that cannot be read to an end, such as pipes and devices."""

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
    """Refuse pipes and devices: reading one may block or never end.

    Parameters
    ----------
    path : Path
        The path that is going to be read. Files, folders and missing paths are accepted here: reading them
        raises a more precise error.

    Raises
    ------
    OSError
        The path leads to a named pipe, a device or a socket. (A path with a NUL character raises ValueError.)
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    for is_kind, name in _WITHOUT_CONTENT:
        if is_kind(mode):
            raise OSError(f"this is {name}, not a file")
