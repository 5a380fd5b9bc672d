"""Where the output goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xslim.config import Config
from xslim.errors import OutputError

DEFAULT_STEM = "xslim"
DEFAULT_FOLDER = Path("temp")


@dataclass(frozen=True)
class OutputPaths:
    """Folder and file-name prefix of everything a run writes."""

    folder: Path
    prefix: str

    @property
    def model(self) -> Path:
        """The ONNX file."""
        return self.folder / f"{self.prefix}.onnx"

    def beside(self, suffix: str) -> Path:
        """Another file of the run, such as ``<prefix>_report.md``."""
        return self.folder / f"{self.prefix}{suffix}"


def output_paths(config: Config, source: Path | None, output: str | Path | None, given: bool) -> OutputPaths:
    """Decide folder and prefix as XSlim 2 does, but never let the input be overwritten.

    Parameters
    ----------
    config : Config
        ``output_prefix`` and ``working_dir`` of the model parameters.
    source : Path or None
        The input file; None for a model in memory.
    output : path or None
        The caller's output: a ``.onnx`` file, or a folder.
    given : bool
        The input was named by the caller and not by the config: the stem of its file is then the prefix.
    """
    parameters = config.model_parameters
    stem = source.stem if source is not None else DEFAULT_STEM
    prefix = stem if given and source is not None else parameters.output_prefix or f"{stem}.q"
    folder = (
        Path(parameters.working_dir)
        if parameters.working_dir
        else source.parent
        if source
        else DEFAULT_FOLDER
    )
    if output is not None:
        target = Path(output)
        if target.suffix == ".onnx" and not target.is_dir():
            folder, prefix = target.parent, target.stem
        else:
            folder = target
    paths = OutputPaths(folder.resolve(), prefix)
    if source is not None and paths.model == source.resolve():
        paths = OutputPaths(paths.folder, f"{prefix}.q")
    return paths


def prepare_folder(paths: OutputPaths) -> None:
    """Create the output folder and make sure, before any work starts, that a file can be written there.

    Raises
    ------
    OutputError
        The folder cannot be made or written, or the model's path is a folder.
    """
    try:
        paths.folder.mkdir(parents=True, exist_ok=True)
        probe = paths.beside(".writing")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"cannot write here: {error.strerror}",
            where=str(paths.folder),
            hint="set working_dir or -o to another folder",
        ) from error
    if paths.model.is_dir():
        raise OutputError(
            "the output model's path is a folder",
            where=str(paths.model),
            hint="choose another output_prefix or -o",
        )
