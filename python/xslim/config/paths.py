"""Resolve and check paths of the configuration."""

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
        A path that is absolute, or relative to the current directory or to `base_dir`.
    base_dir : Path, optional
        Folder of the config file.

    Returns
    -------
    Path
        An absolute path. A relative path is resolved in the current directory if it exists there, else in
        `base_dir` if it exists there, else in the current directory.

    Raises
    ------
    ConfigError
        The encoding of file names lacks characters of the path.
    """
    require_encodable(path)
    here = Path.cwd() / path
    if base_dir is not None and not here.exists():
        beside = Path.cwd() / base_dir / path
        if beside.exists():
            return beside
    return here


def search_hint(field: str, path: str | Path, base_dir: Path | None) -> str:
    """Return the hint about a missing file that the configuration names: where it was looked for."""
    if Path(path).is_absolute():
        return missing_hint(path, f"correct {field}")
    beside = None if base_dir is None else Path.cwd() / base_dir / path
    also = f", so {beside} was tried as well" if beside not in (None, Path.cwd() / path) else ""
    return missing_hint(
        path, f"{field} is relative to the current folder, or else to the configuration{also}"
    )


def require_encodable(path: str | Path) -> None:
    """Refuse a path with characters that the encoding of file names lacks, or that could not be decoded.

    If Python does not use UTF-8, names with other characters cannot be written, and names from the system
    that cannot be decoded cannot be passed to libraries as text.

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
    """Replace a leading ``~`` or ``~user`` by the home folder if the user exists."""
    try:
        return str(Path(path).expanduser()) if str(path).startswith("~") else os.fspath(path)
    except RuntimeError:
        return os.fspath(path)


def missing_hint(path: str | Path, hint: str) -> str:
    """Return the hint about a missing path, with a remark on backslashes if the path contains any."""
    return f"write / instead of backslashes; {hint}" if os.sep == "/" and "\\" in str(path) else hint
