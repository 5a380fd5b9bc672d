"""Read a configuration from a file or a dict into a checked `Config`; one error lists all problems."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from xslim.config.jsonc import plain_json
from xslim.config.model import Config, InputParameters
from xslim.config.paths import expand_home
from xslim.config.problems import describe_problems
from xslim.config.spellings import COMMENT_PREFIXES, as_documented
from xslim.config.suspicions import suspicions
from xslim.errors import ConfigError
from xslim.files import require_content

logger = logging.getLogger(__name__)

ConfigSource = Mapping[str, Any] | str | os.PathLike[str] | Config


def load_config(
    source: ConfigSource,
    *,
    onnx_model: str | os.PathLike[str] | None = None,
    opset: int | None = None,
    unchecked: bool | None = None,
    functions: bool | None = None,
    precision_level: int | None = None,
    ignore_op_types: Sequence[str] | None = None,
    ignore_op_names: Sequence[str] | None = None,
    changes: Mapping[str, Mapping[str, Any]] | None = None,
) -> Config:
    """Read and check a configuration.

    Parameters
    ----------
    source : mapping, path or Config
        The configuration, or the path of its JSON file. A `Config` is returned unchanged if nothing replaces
        it.
    onnx_model, opset, functions, unchecked : optional
        Replace the fields of `model_parameters` with the same name.
    precision_level : int, optional
        Replaces the field of `quantization_parameters`.
    ignore_op_types, ignore_op_names : sequence of str, optional
        Added to the fields of `quantization_parameters` with the same name.
    changes : mapping of str to mapping, optional
        Replace the fields of the same names in the sections of these names.

    Returns
    -------
    Config
        The frozen configuration; `base_dir` is the folder of the file.

    Raises
    ------
    ConfigError
        The configuration is wrong; the error lists all problems with their paths.
    """
    replaced = (onnx_model, opset, functions, unchecked, precision_level)
    added = ignore_op_types or ignore_op_names or changes
    if isinstance(source, Config) and not added and all(value is None for value in replaced):
        return source
    file, where = None, "config"
    if isinstance(source, Config):
        file, raw = source.file, as_written(source)
    elif isinstance(source, Mapping):
        raw = as_documented(source)
    elif isinstance(source, (str, os.PathLike)):
        path = Path(expand_home(source))
        raw, file, where = as_documented(_read_json(path)), path.absolute(), str(path)
    else:
        raise ConfigError(
            f"must be a dict or the path of a JSON file, not {type(source).__name__}", where=where
        )

    _replace(
        raw, "model_parameters", onnx_model=onnx_model, opset=opset, functions=functions, unchecked=unchecked
    )
    _replace(raw, "quantization_parameters", precision_level=precision_level)
    for section, fields in (changes or {}).items():
        if "input_parameters" in fields and isinstance(raw.get(section), Mapping):
            raw[section] = {key: value for key, value in raw[section].items() if key != "input_parametres"}
        _replace(raw, section, **fields)
    _extend(raw, "quantization_parameters", ignore_op_types=ignore_op_types, ignore_op_names=ignore_op_names)
    config = _validate(raw, where)
    # The path of the file is not part of the configuration's contents, so it is not a field.
    config._file = file
    for suspicion in suspicions(config):
        logger.warning("%s", suspicion)
    return config


def as_written(config: Config) -> dict[str, Any]:
    """Return the fields that were given as a dict, the list of inputs under the name that the user wrote."""
    raw = config.model_dump(exclude_unset=True)
    calibration = raw.get("calibration_parameters", {})
    if "input_parameters" in calibration:
        given = config.calibration_parameters.input_parameters
        entries = [
            fields | _objects(entry)
            for fields, entry in zip(calibration.pop("input_parameters"), given, strict=True)
        ]
        calibration[config.calibration_parameters.inputs_name] = entries
    return raw


def _objects(entry: InputParameters) -> dict[str, Any]:
    objects = {"preprocess_file": entry.function, "data_list_path": entry.paths}
    return {name: value for name, value in objects.items() if value is not None}


def _validate(raw: Mapping[str, Any], where: str) -> Config:
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        problems = describe_problems(error)
    if len(problems) == 1:
        raise ConfigError(problems[0], where=where)
    listing = "".join(f"\n  {line}" for line in problems)
    raise ConfigError(f"{len(problems)} problems:{listing}", where=where)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        require_content(path)
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            "there is no such config file",
            where=str(path),
            hint="the path is relative to the current folder; xslim init writes a first one",
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"the config file is not UTF-8 text: {error}", where=str(path), hint=_text_hint(path)
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read the config file: {error}", where=str(path)) from error
    try:
        raw = json.loads(plain_json(text), object_pairs_hook=_distinct_keys)
    except json.JSONDecodeError as error:
        place = f"{path}, line {error.lineno}, column {error.colno}"
        raise ConfigError(
            f"not valid JSON: {error.msg}", where=place, hint=_json_hint(path, error)
        ) from error
    except RecursionError:
        raise ConfigError("not valid JSON: nested too deeply", where=str(path)) from None
    except ValueError as error:
        raise ConfigError("not valid JSON: a number has too many digits", where=str(path)) from error
    except ConfigError as error:
        raise ConfigError(error.what, where=str(path)) from None
    if not isinstance(raw, dict):
        raise ConfigError(
            "the config must be a JSON object with sections such as model_parameters",
            where=str(path),
            hint="xslim init writes one to start from",
        )
    return raw


def _text_hint(path: Path) -> str:
    return "a model is named with -i" if path.suffix.lower() == ".onnx" else "save the file as UTF-8"


def _json_hint(path: Path, error: json.JSONDecodeError) -> str:
    if path.suffix.lower() in (".yaml", ".yml", ".toml"):
        return "only JSON is read: write the configuration as JSON; xslim init writes one to start from"
    if error.msg.startswith("Invalid \\escape"):
        return "in a path, write / or two backslashes instead of one backslash"
    return "comments and a comma behind the last entry are allowed; a comma or a quote too few is not"


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs if not key.startswith(COMMENT_PREFIXES)]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ConfigError(f"given twice in the same object: {', '.join(twice)}", hint="keep one")
    return content


def _replace(raw: dict[str, Any], section: str, **values: Any) -> None:
    given = {key: value for key, value in values.items() if value is not None}
    present = raw.get(section, {})
    if given and isinstance(present, Mapping):
        raw[section] = {**present, **given}


def _extend(raw: dict[str, Any], section: str, **values: Sequence[str] | None) -> None:
    present = raw.get(section, {})
    if not isinstance(present, Mapping):
        return
    lists = {key: present.get(key, []) for key, value in values.items() if value}
    # A value that is not a list is kept, so that validation reports it.
    raw[section] = dict(present) | {
        key: [*old, *(values[key] or ())] if isinstance(old, (list, tuple)) else old
        for key, old in lists.items()
    }
