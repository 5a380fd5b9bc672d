"""The manifest of ``xslim batch``: models, configurations and targets, with shared defaults."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from xslim.config import Config, load_config, portable
from xslim.config.fields import describe, problem
from xslim.config.problems import Sections, describe_problems
from xslim.errors import ConfigError, XSlimError
from xslim.files import require_content

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Section = Mapping[str, Any]
SECTIONS = ("model_parameters", "calibration_parameters", "quantization_parameters")
PATTERN = set("*?[")


def _file_name(value: str) -> str:
    if not value or set(value) & {"/", "\\"}:
        raise problem(f"is the name of files, so it must not be empty or hold / or \\, got {describe(value)}")
    return value


class _Strict(BaseModel):
    # protected_namespaces: `model` and `model_parameters` are documented names.
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class _Defaults(_Strict):
    model_parameters: dict[str, Any] = Field(default_factory=dict)
    calibration_parameters: dict[str, Any] = Field(default_factory=dict)
    quantization_parameters: dict[str, Any] = Field(default_factory=dict)


class _Entry(_Defaults):
    model: Annotated[str, Field(min_length=1)] | None = None
    name: Annotated[str, AfterValidator(_file_name)] | None = None
    config: str | None = None


class _Manifest(_Strict):
    output: str = "batch"
    targets: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    defaults: _Defaults = _Defaults()
    models: Annotated[tuple[_Entry, ...], Field(min_length=1)]


_SECTIONS: Sections = {"": _Manifest, "defaults": _Defaults, "models[]": _Entry}


@dataclass(frozen=True)
class Job:
    """One run: a model, its configuration, and the file that it writes.

    Attributes
    ----------
    name : str
        The name of the job, which is that of its files.
    model : Path
        The float model.
    config : dict
        The configuration, with absolute paths.
    output : Path
        The ``.onnx`` file.
    """

    name: str
    model: Path
    config: dict[str, Any]
    output: Path

    @property
    def target(self) -> str:
        """The target of the configuration."""
        return load_config(self.config).quantization_parameters.target


@dataclass(frozen=True)
class Manifest:
    """The jobs of a manifest, and the folder of their outputs."""

    folder: Path
    jobs: tuple[Job, ...]


def read_manifest(path: Path, output: Path | None = None) -> Manifest:
    """Read a manifest and every configuration in it.

    Parameters
    ----------
    path : Path
        A TOML or JSON file. Paths in it are relative to its folder.
    output : Path, optional
        The folder of the outputs, in place of that of the manifest.

    Raises
    ------
    ConfigError
        The manifest cannot be read, names no model, or a configuration is wrong. All problems are listed.
    """
    try:
        manifest = _Manifest.model_validate(_read(path))
    except ValidationError as error:
        raise _problems(describe_problems(error, _SECTIONS), path) from error
    base = path.absolute().parent
    folder = (base / manifest.output) if output is None else output.absolute()
    jobs: list[Job] = []
    problems: list[str] = []
    for index, entry in enumerate(manifest.models):
        try:
            jobs += _jobs(entry, manifest, base, folder)
        except XSlimError as error:
            problems.append(f"models[{index}]: {error}")
    names = [job.name for job in jobs]
    problems += [
        f"two jobs have the name {name}" for name in sorted({n for n in names if names.count(n) > 1})
    ]
    if problems:
        raise _problems(problems, path)
    return Manifest(folder, tuple(jobs))


def _read(path: Path) -> Any:
    try:
        require_content(path)
        text = path.read_text("utf-8-sig")
        return json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot read the manifest: {error}", where=str(path), hint="it is a TOML or a JSON file"
        ) from error


def _problems(lines: Sequence[str], path: Path) -> ConfigError:
    if len(lines) == 1:
        return ConfigError(lines[0], where=str(path))
    return ConfigError(f"{len(lines)} problems:" + "".join(f"\n  {line}" for line in lines), where=str(path))


def _jobs(entry: _Entry, manifest: _Manifest, base: Path, folder: Path) -> Iterator[Job]:
    models = _models(entry, base)
    if entry.name is not None and len(models) > 1:
        raise ConfigError(f"{entry.model} matches {len(models)} models", where="name", hint="leave name out")
    for model in models:
        for target in manifest.targets or (None,):
            config = _config(entry, manifest.defaults, base, target)
            stem = entry.name or model.stem
            name = stem if target is None else f"{stem}.{Path(target).stem}"
            yield Job(name, model, portable(config, base), folder / f"{name}.onnx")


def _models(entry: _Entry, base: Path) -> list[Path]:
    """Return the models of an entry; without a field for them, the configuration file names the model."""
    if entry.model is not None:
        return _matches(entry.model, base)
    own = portable(load_config(base / entry.config)) if entry.config is not None else {}
    named = own.get("model_parameters", {}).get("onnx_model")
    if named is None:
        raise ConfigError(
            "an entry of the manifest has no model", hint="give model, or a config that names onnx_model"
        )
    return _matches(named, base)


def _matches(pattern: str, base: Path) -> list[Path]:
    if not PATTERN & set(pattern):
        found = [base / pattern]
    elif Path(pattern).is_absolute():
        found = sorted(Path(Path(pattern).anchor).glob(str(Path(pattern).relative_to(Path(pattern).anchor))))
    else:
        found = sorted(base.glob(pattern))
    files = [path for path in found if path.is_file()]
    if not files:
        raise ConfigError(f"no model matches {pattern}", where="model", hint="it is relative to the manifest")
    return files


def _config(entry: _Entry, defaults: _Defaults, base: Path, target: str | None) -> Config:
    """Merge the defaults, the configuration file and the fields of an entry; the later wins."""
    own = portable(load_config(base / entry.config)) if entry.config is not None else {}
    merged: dict[str, dict[str, Any]] = {}
    for layer in (_sections(defaults), own, _sections(entry)):
        for name, fields in layer.items():
            merged[name] = {**merged.get(name, {}), **fields}
    if target is not None:
        merged["quantization_parameters"] = {**merged.get("quantization_parameters", {}), "target": target}
    return load_config(merged)


def _sections(fields: _Defaults) -> dict[str, dict[str, Any]]:
    return {name: dict(value) for name in SECTIONS if (value := getattr(fields, name))}


def fingerprint(job: Job, files: Sequence[Path]) -> str:
    """Hash what the result of a job depends on.

    The model's content counts, and path, size and time of the other files.
    """
    from xslim import __version__

    digest = hashlib.sha256(json.dumps([__version__, job.config], sort_keys=True).encode())
    digest.update(hashlib.sha256(job.model.read_bytes()).digest())
    for file in files:
        found = file.stat() if file.exists() else None
        digest.update(json.dumps([str(file), found and found.st_size, found and found.st_mtime_ns]).encode())
    return digest.hexdigest()
