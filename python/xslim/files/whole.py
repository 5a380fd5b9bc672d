"""Write files completely or not at all."""

from __future__ import annotations

from pathlib import Path

from xslim.errors import OutputError
from xslim.files.places import require_place
from xslim.files.scratch import scratch_folder


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a temporary file and rename it, so that readers see either the old content or the new one.

    Parameters
    ----------
    path : Path
        Path of the file. Missing folders are created, and removed again if the file cannot be written.
    data : bytes or str
        Content of the file; text is written as UTF-8.

    Raises
    ------
    OutputError
        The file cannot be written, or the path is a folder, a link or a device.
    """
    content = data.encode() if isinstance(data, str) else data
    try:
        with scratch_folder(path.parent) as aside:
            # Unlike the files of tempfile, a normally created file has the permissions that the umask allows.
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
    """Rename a temporary file to its final path; every output of XSlim is placed by this function.

    Raises
    ------
    OutputError
        The path is a folder, a link or a device.
    OSError
        The file system refuses the renaming.
    """
    require_place(path)
    written.replace(path)
