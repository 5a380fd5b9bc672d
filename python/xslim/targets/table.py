"""Operator tables: which role every operator has on a target, and under which constraints."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from xslim.errors import ConfigError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

AttributeValue = int | float | str


@dataclass(frozen=True)
class AxisRule:
    """Channel axis of a weight, valid where the node's attributes have the values of `when`."""

    axis: int | None
    when: Mapping[str, AttributeValue]


@dataclass(frozen=True)
class Operator:
    """How a target treats one operator.

    Attributes
    ----------
    role : str
        ``compute``, ``elementwise``, ``activation``, ``concat``, ``passive`` or ``float``.
    max_level : int
        Highest precision level at which the operator is int8.
    data_inputs : tuple of int, or None
        Inputs that carry data; the others (shapes, axes, indices) are never quantised. None means all.
    weight_input : int or None
        The input that is a weight when it is constant.
    weight_axis : tuple of AxisRule
        Channel axis of the weight: the first rule that fits the node's attributes.
    bias_input : int or None
        The input that is a bias vector per output channel.
    channel_axis : int or None
        Axis of input 0 along which the weight sums.
    requires : mapping
        Attribute values without which the operator stays float.
    fuses_activation : bool
        The target applies a following activation before it quantises the output.
    fuses_bias : bool
        The target adds a following constant vector before it quantises the output.
    bounds : pair of float, or None
        A clamp that a saturating quantiser can replace, such as ``(0, inf)`` for Relu.
    bounds_inputs : bool
        The clamp's bounds are the node's constant inputs 1 and 2.
    output_range : pair of float, or None
        Range of the output known without calibration.
    """

    role: str
    max_level: int
    data_inputs: tuple[int, ...] | None = None
    weight_input: int | None = None
    weight_axis: tuple[AxisRule, ...] = ()
    bias_input: int | None = None
    channel_axis: int | None = None
    requires: Mapping[str, AttributeValue] = field(default_factory=dict)
    fuses_activation: bool = False
    fuses_bias: bool = False
    bounds: tuple[float, float] | None = None
    bounds_inputs: bool = False
    output_range: tuple[float, float] | None = None


@dataclass(frozen=True)
class Target:
    """A named operator table."""

    name: str
    operators: Mapping[str, Operator]

    def operator(self, domain: str, op_type: str) -> Operator:
        """Return the table's entry; operators that it does not list are float."""
        key = op_type if domain in ("", "ai.onnx") else f"{domain}.{op_type}"
        return self.operators.get(key, _FLOAT)


_FLOAT = Operator(role="float", max_level=-1)


def _axis_rule(entry: Mapping[str, Any]) -> AxisRule:
    when = {key: value for key, value in entry.items() if key != "axis"}
    return AxisRule(axis=entry.get("axis"), when=when)


def _operator(entry: Mapping[str, Any], levels: Mapping[str, int]) -> Operator:
    fields = dict(entry)
    role = fields.pop("role")
    for name in ("bounds", "output_range", "data_inputs"):
        if name in fields:
            fields[name] = tuple(fields[name])
    fields["weight_axis"] = tuple(_axis_rule(rule) for rule in fields.get("weight_axis", ()))
    fields.setdefault("max_level", levels[role])
    return Operator(role=role, **fields)


def target_names() -> list[str]:
    """Names of the targets that the package carries."""
    files = resources.files(__package__).iterdir()
    return sorted(file.name.removesuffix(".toml") for file in files if file.name.endswith(".toml"))


@cache
def load_target(name: str = "spacemit") -> Target:
    """Read the table of a target.

    Raises
    ------
    ConfigError
        No such target.
    """
    if name not in target_names():
        raise ConfigError(f"unknown target {name!r}", hint=f"choose one of {', '.join(target_names())}")
    table = tomllib.loads(resources.files(__package__).joinpath(f"{name}.toml").read_text("utf-8"))
    operators = {key: _operator(entry, table["levels"]) for key, entry in table["operators"].items()}
    return Target(name=table["name"], operators=operators)
