"""The report as JSON; its schema is documented in docs/report-schema.md."""

from __future__ import annotations

import json
from typing import Any

from xslim.analysis.numbers import plain
from xslim.analysis.report import Report

SCHEMA_VERSION = 1


def to_json(report: Report) -> str:
    """Return the report as JSON text with one line for every field and for every element of a list.

    Floats have six significant digits; NaN and infinities become null.
    """
    data: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **plain(report)}
    fields = ",\n".join(f' "{name}": {_field(value)}' for name, value in data.items())
    return f"{{\n{fields}\n}}\n"


def _field(value: Any) -> str:
    if not isinstance(value, list) or not value:
        return _text(value)
    return "[\n" + ",\n".join(f"  {_text(item)}" for item in value) + "\n ]"


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
