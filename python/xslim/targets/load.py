"""Read a target: a table of the package by its name, or a user's table by its path."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from xslim.config import Config, resolve_path
from xslim.config.fields import DEFAULT_TARGET, is_table_path, target_names
from xslim.config.paths import expand_home, missing_hint
from xslim.errors import ConfigError
from xslim.files import require_content
from xslim.targets.checks import table_problems
from xslim.targets.constraints import Constraint
from xslim.targets.table import AxisRule, Chip, Operator, Target

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def target_of(config: Config) -> Target:
    """Return the target that a configuration names; see `load_target` for the errors."""
    return load_target(config.quantization_parameters.target, config.base_dir)


def load_target(name: str = DEFAULT_TARGET, base_dir: Path | None = None) -> Target:
    """Read the table of a target.

    Parameters
    ----------
    name : str
        The name of a table of the package, or the path of a file that ends with ``.toml``. A relative path is
        taken from the current folder, else from `base_dir`.
    base_dir : Path, optional
        Folder of the config file.

    Raises
    ------
    ConfigError
        There is no such target, the file cannot be read, or the table is wrong: with every problem.
    """
    if is_table_path(name):
        return _of_user(resolve_path(expand_home(name), base_dir))
    if name not in target_names():
        names = ", ".join(sorted(target_names()))
        raise ConfigError(f"unknown target {name!r}", hint=f"choose one of {names}, or a .toml file of yours")
    return _of_package(name)


@cache
def _of_package(name: str) -> Target:
    return _target(_with_base(_table_of_package(name), name))


def _table_of_package(name: str) -> dict[str, Any]:
    text = resources.files(__package__).joinpath(f"{name}.toml").read_text("utf-8")
    table: dict[str, Any] = tomllib.loads(text)
    return table


def _with_base(table: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a table with what it takes over from the table of the package that it names as its base."""
    if "base" not in table:
        return table
    base = table["base"]
    if base not in target_names():
        names = ", ".join(sorted(target_names()))
        raise ConfigError(f"base: unknown target {base!r}", where=where, hint=f"choose one of {names}")
    own = {key: value for key, value in table.items() if key != "base"}
    return _with_base(_table_of_package(base), base) | own


def _of_user(path: Path) -> Target:
    table = _with_base(_read(path), str(path))
    problems = table_problems(table)
    if len(problems) == 1:
        raise ConfigError(problems[0], where=str(path))
    if problems:
        listing = "".join(f"\n  {line}" for line in problems)
        raise ConfigError(f"{len(problems)} problems:{listing}", where=str(path))
    return _target(table)


def _read(path: Path) -> dict[str, Any]:
    try:
        require_content(path)
        table: dict[str, Any] = tomllib.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        hint = "the path is relative to the current folder, then to the configuration"
        raise ConfigError(
            "there is no such target file", where=str(path), hint=missing_hint(path, hint)
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"not valid TOML: {error}", where=str(path)) from error
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot read the target file: {error}", where=str(path)) from error
    return table


def _target(table: Mapping[str, Any]) -> Target:
    types = table.get("types", {})
    operators: dict[str, Operator] = {}
    for section in table["section"]:
        common = {key: value for key, value in section.items() if key != "operators"}
        operators |= {
            key: _operator({**common, **entry}, types) for key, entry in section["operators"].items()
        }
    flags = {flag: table.get(flag, False) for flag in ("unsigned", "takes_unlisted", "float16_epilogue")}
    raises = frozenset(table.get("raises_opset_for", ()))
    chip = Chip(**table["chip"]) if table.get("chip") else None
    return Target(table["name"], table["provider"], operators, **flags, raises_opset_for=raises, chip=chip)


def _operator(entry: dict[str, Any], types: Mapping[str, list[str]]) -> Operator:
    for name in ("bounds", "output_range", "data_inputs", "dynamic_inputs"):
        if name in entry:
            entry[name] = tuple(entry[name])
    for name in ("constraints", "int8_constraints", "half_constraints"):
        entry[name] = tuple(_constraint(item) for item in entry.get(name, ()))
    entry["weight_axis"] = tuple(_axis_rule(item) for item in entry.get("weight_axis", ()))
    entry["types"] = frozenset(types[entry["types"]] if "types" in entry else ())
    return Operator(**entry)


def _axis_rule(entry: Mapping[str, Any]) -> AxisRule:
    return AxisRule(entry.get("axis"), {key: value for key, value in entry.items() if key != "axis"})


def _constraint(entry: Mapping[str, Any]) -> Constraint:
    fields: dict[str, Any] = {**entry, "one_of": tuple(entry.get("one_of", ()))}
    return Constraint(**fields)
