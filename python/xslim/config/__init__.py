"""The configuration: every documented field, checked strictly, as frozen data."""

from xslim.config.load import load_config
from xslim.config.model import (
    SLIM_ONLY,
    STATIC_LEVELS,
    CalibrationParameters,
    Config,
    CustomSetting,
    InputParameters,
    ModelParameters,
    QuantizationParameters,
)
from xslim.config.paths import expand_home, missing_hint, resolve_path
from xslim.config.schema import schema

__all__ = [
    "SLIM_ONLY",
    "STATIC_LEVELS",
    "CalibrationParameters",
    "Config",
    "CustomSetting",
    "InputParameters",
    "ModelParameters",
    "QuantizationParameters",
    "expand_home",
    "load_config",
    "missing_hint",
    "resolve_path",
    "schema",
]
