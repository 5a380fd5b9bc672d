"""The options of `xslim.quantize`: fields of the configuration by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

from xslim.config import (
    CalibrationParameters,
    Config,
    ConfigSource,
    ModelParameters,
    QuantizationParameters,
    load_config,
)
from xslim.errors import ConfigError


class Options(TypedDict, total=False):
    """Fields of ``calibration_parameters`` and ``quantization_parameters``, as in JSON."""

    calibration_step: int
    calibration_batch_size: int
    calibration_device: str
    calibration_type: str
    comparison_samples: int | None
    calibration_memory_mb: int | None
    precision_level: int
    finetune_level: int
    analysis_enable: bool
    report_language: str | None
    max_percentile: float
    max_float_share: float
    custom_setting: Sequence[Mapping[str, Any]] | None
    truncate_var_names: Sequence[str]
    target: str
    bias_type: str
    fp16_keep_types: Sequence[str]
    float_tensors: Sequence[str]
    ignore_op_types: Sequence[str]
    ignore_op_names: Sequence[str]


SECTIONS = {
    "calibration_parameters": frozenset(CalibrationParameters.model_fields) - {"input_parameters"},
    "quantization_parameters": frozenset(QuantizationParameters.model_fields),
}


def configuration(
    config: ConfigSource | None,
    options: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]] | None,
    function: str = "xslim.quantize",
) -> Config:
    """Return a configuration with options, and with entries for data from memory, in place of its own fields.

    Raises
    ------
    ConfigError
        An option does not exist, or the configuration is wrong; the messages are those for JSON.
    """
    changes: dict[str, dict[str, Any]] = {}
    for name, value in options.items():
        section = next((key for key, fields in SECTIONS.items() if name in fields), None)
        if section is None:
            raise ConfigError(f"there is no option {name!r}", where=function, hint=_nearest(name, function))
        changes.setdefault(section, {})[name] = _listed(value)
    if entries is not None:
        changes.setdefault("calibration_parameters", {})["input_parameters"] = list(entries)
    return load_config({} if config is None else config, changes=changes)


def _nearest(name: str, function: str) -> str:
    from difflib import get_close_matches
    from inspect import Parameter, signature

    import xslim

    if name in ModelParameters.model_fields:
        return f"give it as config={{'model_parameters': {{{name!r}: ...}}}}"
    parameters = signature(getattr(xslim, function.removeprefix("xslim."))).parameters.values()
    own = {parameter.name for parameter in parameters if parameter.kind is Parameter.KEYWORD_ONLY}
    known = sorted(own.union(*SECTIONS.values()))
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"the options are {', '.join(known)}"


def _listed(value: object) -> object:
    """Convert tuples to lists, which JSON has, and paths to text."""
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
