"""The operators that a conversion without data must not convert, according to the configuration."""

from __future__ import annotations

from fnmatch import fnmatchcase

import onnx_ir as ir

from xslim.config import Config, PrecisionLevel
from xslim.quantization.plan import mention_unmatched
from xslim.quantization.regions import settings_by_node
from xslim.quantization.rules import rules_from


def kept_operators(prepared: ir.Model, config: Config) -> dict[str, str]:
    """Return the names of the operators that are not converted, each with the reason.

    These are the operators of the ignore lists and of regions with another precision level, and for float16
    also those whose types are in ``fp16_keep_types``.

    Parameters
    ----------
    prepared : onnx_ir.Model
        The prepared model.
    config : Config
        The configuration of a run with precision level 3 or 4.

    Raises
    ------
    ConfigError
        A region does not exist in the model.
    """
    wanted = config.quantization_parameters
    rules = rules_from(config)
    mention_unmatched(prepared.graph, rules)
    settings = settings_by_node(prepared.graph, rules)
    kept = {}
    for node in prepared.graph:
        level = settings[node].precision_level
        reason = rules.ignored(node)
        if reason is None and level != wanted.precision_level:
            reason = f"custom_setting: precision level {level}"
        if reason is None and wanted.precision_level == PrecisionLevel.HALF:
            reason = _fp16_type(node, config)
        if reason is not None:
            kept[node.name or ""] = reason
    return kept


def _fp16_type(node: ir.Node, config: Config) -> str | None:
    patterns = config.quantization_parameters.fp16_keep_types
    matches = any(fnmatchcase(node.op_type, pattern) for pattern in patterns)
    return "listed in fp16_keep_types" if matches else None
