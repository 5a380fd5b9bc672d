"""Temporary folders: removed when the work ends, or by the next run if the process was killed."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if sys.platform != "win32":
    import fcntl

PREFIX = ".xslim-"
LOCK = ".xslim-lock"
FILES = "files"
ATTEMPTS = 100
"""How often the creation of a folder is tried: a run that fails may remove the parent folder meanwhile."""

_NAME = re.compile(rf"{re.escape(PREFIX)}[a-z0-9_]{{8}}")


def is_scratch(path: Path) -> bool:
    """Whether a path lies in a folder of `scratch_folder`, which disappears with its run."""
    return any(_NAME.fullmatch(part) for part in path.parts)


@contextmanager
def scratch_folder(parent: Path | None = None) -> Iterator[Path]:
    """Create an empty folder that is removed at the end of the block.

    A file in the folder is locked during the block. By the lock, other processes distinguish a folder in use
    from one that a killed process has left; see `clear_leftovers`.

    Parameters
    ----------
    parent : Path, optional
        The folder to create it in; by default the system's folder for temporary files. Missing folders are
        created, and removed again if they are empty at the end of the block.

    Raises
    ------
    OSError
        The folder cannot be created.
    """
    place = Path(tempfile.gettempdir()) if parent is None else parent
    if parent is None:
        clear_leftovers(place)
    made: list[Path] = []
    try:
        folder, lock = _locked_folder(place, made)
        try:
            yield folder / FILES
        finally:
            os.close(lock)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        _remove_empty(made)


def clear_leftovers(parent: Path) -> None:
    """Remove the scratch folders of killed processes; folders in use and everything else stay."""
    with contextlib.suppress(OSError):
        with os.scandir(parent) as entries:
            known = [entry for entry in entries if _NAME.fullmatch(entry.name)]
        for entry in known:
            if entry.is_dir(follow_symlinks=False):
                _clear(Path(entry.path))


def _locked_folder(parent: Path, made: list[Path]) -> tuple[Path, int]:
    for _ in range(ATTEMPTS):
        # Another run may remove the parent, if it created it and leaves it empty, or this unlocked folder.
        with contextlib.suppress(FileNotFoundError):
            _make(parent, made)
            folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
            with _removed_on_failure(folder):
                return folder, _lock(folder)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(parent))


@contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _lock(folder: Path) -> int:
    """Lock a new folder and return the lock's descriptor; it fails if another run has removed the folder."""
    lock = os.open(folder / LOCK, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    try:
        if _take(lock) is False:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(folder))
        (folder / FILES).mkdir()
    except BaseException:
        os.close(lock)
        raise
    return lock


def _make(folder: Path, made: list[Path]) -> None:
    missing = []
    while not folder.exists() and folder != folder.parent:
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):
            path.mkdir()
            made.append(path)


def _remove_empty(made: list[Path]) -> None:
    for path in reversed(made):
        with contextlib.suppress(OSError):
            path.rmdir()


def _clear(folder: Path) -> None:
    try:
        lock = os.open(folder / LOCK, os.O_RDWR)
    except FileNotFoundError:
        # The folder has no lock file: its process was killed before, or is about to create the lock file. In
        # that case the process finds its folder missing and creates another one.
        with contextlib.suppress(OSError):
            folder.rmdir()
        return
    try:
        if _take(lock):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


def _take(lock: int) -> bool | None:
    """Lock an open file; return whether that succeeded, or None if the system cannot lock files."""
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
