"""The part of the configuration that the plan follows: precision levels, regions and ignore lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import onnx_ir as ir

from xslim.config import Config, CustomSetting
from xslim.graph.factors import products


@dataclass(frozen=True)
class OperatorSettings:
    """Precision level of an operator, and the calibration method for the tensors that it writes."""

    precision_level: int
    method: str = "default"
    max_percentile: float = 0.9999


@dataclass(frozen=True)
class Region:
    """A part of the graph with settings of its own; a setting of None is inherited from the whole graph."""

    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    precision_level: int | None = None
    method: str | None = None
    max_percentile: float | None = None

    def override(self, base: OperatorSettings) -> OperatorSettings:
        """Return the settings inside the region."""
        return OperatorSettings(
            base.precision_level if self.precision_level is None else self.precision_level,
            self.method or base.method,
            self.max_percentile or base.max_percentile,
        )


@dataclass(frozen=True)
class Rules:
    """Settings of the graph and of its regions, and the operators and tensors that stay float.

    Attributes
    ----------
    settings : OperatorSettings
        Settings of the operators outside the regions.
    regions : tuple of Region
        Regions with settings of their own. If two overlap, the later one applies.
    ignore_op_types, ignore_op_names : sequence of str
        Exact names or shell patterns of operators that stay float, whatever the settings say.
    float_tensors : sequence of str
        Exact names or shell patterns of tensors that stay float by the configuration.
    masks : frozenset of str
        Tensors in which calibration found infinities.
    kept_float : mapping of str to str
        Tensors that refinement leaves float, each with the reason in words.
    """

    settings: OperatorSettings
    regions: tuple[Region, ...] = ()
    ignore_op_types: Sequence[str] = ()
    ignore_op_names: Sequence[str] = ()
    float_tensors: Sequence[str] = ()
    masks: frozenset[str] = frozenset()
    kept_float: Mapping[str, str] = field(default_factory=dict)

    def ignored(self, node: ir.Node) -> str | None:
        """Return the name of the ignore list that contains the operator, or None."""
        if any(fnmatchcase(node.op_type, pattern) for pattern in self.ignore_op_types):
            return "listed in ignore_op_types"
        if any(fnmatchcase(node.name or "", pattern) for pattern in self.ignore_op_names):
            return "listed in ignore_op_names"
        return None


def listed_tensors(model: ir.Model, patterns: Sequence[str]) -> dict[str, str]:
    """Return the tensors of ``float_tensors`` and their products with factors, each with the reason."""
    scaled = products(model)
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    names = [value.name or "" for value in values] if patterns else []
    return {
        name: "listed in float_tensors"
        for name in names
        if any(_matches(scaled.get(name, name), pattern) for pattern in patterns)
    }


def _matches(name: str, pattern: str) -> bool:
    # Names of tensors may contain brackets, which are no pattern then.
    return name == pattern or fnmatchcase(name, pattern)


def rules_from(config: Config) -> Rules:
    """Read the rules from a configuration."""
    wanted, calibration = config.quantization_parameters, config.calibration_parameters
    settings = OperatorSettings(wanted.precision_level, calibration.calibration_type, wanted.max_percentile)
    regions = tuple(_region(item) for item in wanted.custom_setting or ())
    return Rules(settings, regions, wanted.ignore_op_types, wanted.ignore_op_names, wanted.float_tensors)


def _region(item: CustomSetting) -> Region:
    return Region(
        item.input_names,
        item.output_names,
        item.precision_level,
        item.calibration_type,
        item.max_percentile,
    )
