"""Writing files whole or not at all."""

from __future__ import annotations

from pathlib import Path

from xslim.errors import OutputError
from xslim.files.places import require_place
from xslim.files.scratch import scratch_folder


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file aside, then rename it: readers see the old content or the new.

    Parameters
    ----------
    path : Path
        The file; missing folders are created, and removed again where the file cannot be written.
    data : bytes or str
        Its content; text is written as UTF-8.

    Raises
    ------
    OutputError
        The place cannot be written, or is a folder, a link or a device.
    """
    content = data.encode() if isinstance(data, str) else data
    try:
        with scratch_folder(path.parent) as aside:
            # A plain new file gets the permissions that the umask allows, without asking for the umask.
            written = aside / path.name
            written.write_bytes(content)
            put_in_place(written, path)
    except OSError as error:
        raise OutputError(
            f"cannot write: {error.strerror or error}",
            where=str(path),
            hint="write to another folder: working_dir or -o",
        ) from error


def put_in_place(written: Path, path: Path) -> None:
    """Rename a file that was written aside; every output passes through here.

    Raises
    ------
    OutputError
        The place is a folder, a link or a device.
    OSError
        The file system refuses.
    """
    require_place(path)
    written.replace(path)
