"""The configuration: every documented field, checked strictly, as frozen data."""

from xslim.config.levels import FinetuneLevel, PrecisionLevel
from xslim.config.load import ConfigSource, as_written, load_config
from xslim.config.model import (
    CalibrationParameters,
    Config,
    CustomSetting,
    InputParameters,
    ModelParameters,
    QuantizationParameters,
)
from xslim.config.paths import expand_home, missing_hint, require_encodable, resolve_path
from xslim.config.schema import schema

__all__ = [
    "CalibrationParameters",
    "Config",
    "ConfigSource",
    "CustomSetting",
    "FinetuneLevel",
    "InputParameters",
    "ModelParameters",
    "PrecisionLevel",
    "QuantizationParameters",
    "as_written",
    "expand_home",
    "load_config",
    "missing_hint",
    "require_encodable",
    "resolve_path",
    "schema",
]
