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
from xslim.config.paths import resolve_path
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
    "load_config",
    "resolve_path",
    "schema",
]
