"""Places that an output may take: nothing, or a regular file, in a folder that can be written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from xslim.errors import OutputError
from xslim.files.scratch import clear_leftovers, scratch_folder


def require_place(path: Path) -> None:
    """Make sure that renaming a file to this path replaces nothing but a regular file.

    A symbolic link is refused: neither is the link lost, nor is a file overwritten that nobody named.

    Raises
    ------
    OutputError
        The path is a folder, a symbolic link, a device or a pipe.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise OutputError(
            f"cannot write: {error.strerror or error}",
            where=str(path),
            hint="choose another output_prefix or -o",
        ) from error
    if stat.S_ISDIR(mode):
        raise OutputError(
            "cannot write: the output's path is a folder",
            where=str(path),
            hint="choose another output_prefix or -o",
        )
    if stat.S_ISLNK(mode):
        raise OutputError(
            "cannot write: the output's path is a symbolic link",
            where=str(path),
            hint=f"name the file itself, {os.path.realpath(path)}, or remove the link",
        )
    if not stat.S_ISREG(mode):
        raise OutputError(
            "cannot write: the output's path is not a regular file",
            where=str(path),
            hint="choose another output_prefix or -o",
        )


def require_writable(folder: Path) -> None:
    """Make sure that files can be written into a folder, and remove what a killed run has left there.

    The folder is made to see whether it can be, and taken away again: it stays only once a file is in it.

    Raises
    ------
    OutputError
        The folder cannot be made or written.
    """
    try:
        with scratch_folder(folder):
            pass
    except OSError as error:
        raise OutputError(
            f"cannot write here: {error.strerror or error}",
            where=str(folder),
            hint="set working_dir or -o to another folder",
        ) from error
    clear_leftovers(folder)
