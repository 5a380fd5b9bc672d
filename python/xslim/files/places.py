"""Check the path of an output: nothing or a regular file is there, and its folder can be written."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from xslim.errors import OutputError
from xslim.files.scratch import clear_leftovers, scratch_folder


def require_place(path: Path) -> None:
    """Check that renaming a file to this path creates a file or replaces a regular file.

    A symbolic link is refused. Otherwise either the link would be lost, or a file would be overwritten that
    the user did not name.

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
    """Check that files can be written into a folder, and remove the leftovers of killed runs there.

    A missing folder is created to check that it can be, and removed again; it stays only with a file in it.

    Raises
    ------
    OutputError
        The folder cannot be created or written.
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
