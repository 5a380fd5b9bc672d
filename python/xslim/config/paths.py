"""Where a relative path of the configuration points to."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from xslim.errors import ConfigError


def resolve_path(path: str | Path, base_dir: Path | None = None) -> Path:
    """Resolve a path of the configuration.

    Parameters
    ----------
    path : str or Path
        Absolute, or relative to the current directory or to `base_dir`.
    base_dir : Path, optional
        Folder of the config file.

    Returns
    -------
    Path
        Absolute. A relative path is taken from the current directory when something exists there,
        else from `base_dir` when something exists there, else from the current directory.

    Raises
    ------
    ConfigError
        The encoding of file names has no such characters.
    """
    require_encodable(path)
    here = Path.cwd() / path
    if base_dir is not None and not here.exists():
        beside = Path.cwd() / base_dir / path
        if beside.exists():
            return beside
    return here


def require_encodable(path: str | Path) -> None:
    """Refuse a path that no file can have here, and those that only look like the name of one.

    Where Python is told not to use UTF-8, a name of other characters cannot be written, and one that the
    system hands over reaches no library that wants text.

    Raises
    ------
    ConfigError
    """
    encoding = sys.getfilesystemencoding()
    try:
        str(path).encode(encoding)
    except UnicodeEncodeError:
        raise ConfigError(
            f"names of files have the encoding {encoding} here, which lacks these characters",
            where=ascii(str(path)),
            hint="set PYTHONUTF8=1 or a locale of UTF-8, or rename the file",
        ) from None


def expand_home(path: str | os.PathLike[str]) -> str:
    """Replace a leading ``~`` or ``~user`` by the home folder, where there is such a user."""
    try:
        return str(Path(path).expanduser()) if str(path).startswith("~") else os.fspath(path)
    except RuntimeError:
        return os.fspath(path)


def missing_hint(path: str | Path, hint: str) -> str:
    """Return the hint about a missing path, after a word on backslashes where the path has some."""
    return f"write / instead of backslashes; {hint}" if os.sep == "/" and "\\" in str(path) else hint
