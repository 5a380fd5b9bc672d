"""Determine the source of the model and the paths of the output files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import onnx

from xslim.config import Config, require_encodable, resolve_path
from xslim.errors import ConfigError
from xslim.files import same_file
from xslim.graph.io import weights_file

SKETCHES, PLAN = ".sketches", "_plan.json"
REPORTS = ("_report.md", "_report.json", "_report.html")
DEFAULT_STEM = "xslim"
DEFAULT_FOLDER = Path("temp")


ModelSource = onnx.ModelProto | Path
ModelArgument = onnx.ModelProto | str | Path


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

    def files(self, config: Config, *, sketches_given: bool = False) -> list[Path]:
        """Every file that a run may write before its report.

        Parameters
        ----------
        config : Config
            The configuration of the run.
        sketches_given : bool
            Whether the run reads sketch files; it then writes none.
        """
        files = [self.model, weights_file(self.model)]
        return [*files, self.beside(SKETCHES)] if config.is_static and not sketches_given else files

    def reports(self, config: Config) -> list[Path]:
        """The files of the report that a run writes."""
        wanted = config.is_static and config.quantization_parameters.analysis_enable
        return [self.beside(suffix) for suffix in REPORTS] if wanted else []


def model_source(config: Config, model_or_path: ModelArgument | None) -> ModelSource:
    """Return the model in memory, or the path that the caller or else the configuration names.

    Raises
    ------
    ConfigError
        No model is named, or its name cannot be that of a file.
    """
    if isinstance(model_or_path, onnx.ModelProto):
        return model_or_path
    if model_or_path is not None:
        require_encodable(model_or_path)
        return Path(model_or_path)
    if config.model_parameters.onnx_model is None:
        raise ConfigError(
            "no model is given",
            where="model_parameters.onnx_model",
            hint="name the ONNX file there or with -i",
        )
    return resolve_path(config.model_parameters.onnx_model, config.base_dir)


def output_paths(config: Config, source: Path | None, output: str | Path | None, given: bool) -> OutputPaths:
    """Determine folder and prefix as XSlim 2 does, except that the input is never overwritten.

    Parameters
    ----------
    config : Config
        ``output_prefix`` and ``working_dir`` of the model parameters.
    source : Path or None
        The input file; None for a model in memory.
    output : path or None
        The caller's output: a ``.onnx`` file, or a folder.
    given : bool
        Whether the caller named the input, and not the configuration; its stem is then the prefix.
    """
    parameters = config.model_parameters
    for given_path in (output, parameters.working_dir, parameters.output_prefix):
        require_encodable(given_path or "")
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
        if target.suffix == ".onnx" and not os.path.isdir(target):  # noqa: PTH112 - false for a name too long
            folder, prefix = target.parent, target.stem
        else:
            folder = target
    # Path.resolve raises RuntimeError for a link to itself.
    paths = OutputPaths(Path(os.path.realpath(folder)), prefix)
    if source is not None and same_file(paths.model, source):
        paths = OutputPaths(paths.folder, f"{prefix}.q")
    return paths
