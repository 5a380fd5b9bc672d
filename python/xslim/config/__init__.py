"""The configuration: every documented field, checked strictly, as frozen data."""

from xslim.config.levels import FinetuneLevel, PrecisionLevel
from xslim.config.load import ConfigSource, load_config
from xslim.config.model import (
    CalibrationParameters,
    Config,
    CustomSetting,
    InputParameters,
    ModelParameters,
    QuantizationParameters,
)
from xslim.config.paths import expand_home, missing_hint, require_encodable, resolve_path, search_hint
from xslim.config.portable import portable
from xslim.config.schema import schema
from xslim.config.spooled import without_spooled

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
    "expand_home",
    "load_config",
    "missing_hint",
    "portable",
    "require_encodable",
    "resolve_path",
    "schema",
    "search_hint",
    "without_spooled",
]
