"""Format numbers for texts and for JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

DIGITS = 6
KEY = "key"
"""Metadata of a dataclass field whose key in the JSON report is not the field's name; None leaves it out."""
SMALLEST_SHARE = 1e-5
UNITS = (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))


def short(value: float, digits: int = 4) -> str:
    """A number with few digits; infinities as words."""
    if math.isnan(value):
        return "-"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.{digits}g}"


def decibels(value: float) -> str:
    """Return a level in decibels as text; an infinite one (no noise) is called exact."""
    if value == math.inf:
        return "exact"
    return f"{value:.1f} dB" if math.isfinite(value) else short(value)


def signed(gain: float) -> str:
    """Return a difference in dB as text, with its sign."""
    if math.isnan(gain):
        return "-"
    return f"{gain:+.1f} dB" if math.isfinite(gain) else ("+∞" if gain > 0 else "-∞")


def percent(part: float | None, whole: float | None) -> str:
    """Return a share in percent as text, or a dash if it is unknown."""
    return f"{100 * part / whole:.1f} %" if part is not None and whole else "-"


def share(part: float) -> str:
    """Return a small fraction, 0 to 1, in percent as text."""
    if 0 < part < SMALLEST_SHARE:
        return f"< {100 * SMALLEST_SHARE:g} %"
    return f"{100 * part:.3f} %" if part else "0"


def count(value: float | None) -> str:
    """Return a large number as text with a unit."""
    if value is None:
        return "-"
    for unit, size in UNITS:
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:g}"


def pretty(value: Any, indent: str = "") -> str:
    """Return indented JSON in which lists of numbers and strings take one line."""
    value = plain(value)
    inner = indent + "  "
    if isinstance(value, dict) and value:
        items = [
            f"{inner}{json.dumps(key, ensure_ascii=False)}: {pretty(item, inner)}"
            for key, item in value.items()
        ]
        return "\n".join(["{", ",\n".join(items), indent + "}"])
    if isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        items = [f"{inner}{pretty(item, inner)}" for item in value]
        return "\n".join(["[", ",\n".join(items), indent + "]"])
    return json.dumps(value, ensure_ascii=False)


def plain(value: Any) -> Any:
    """Convert to JSON types: dataclasses to dicts, tuples to lists; six digits, null if not finite."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, (str, int)) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if is_dataclass(value):
        keys = ((item.metadata.get(KEY, item.name), item.name) for item in fields(value))
        return {key: plain(getattr(value, name)) for key, name in keys if key is not None}
    return value
