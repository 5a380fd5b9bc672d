"""The report as JSON; its schema is documented in docs/report-schema.md."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from xslim.analysis.numbers import plain
from xslim.analysis.report import Report

SCHEMA_VERSION = 1


def to_data(report: Report) -> dict[str, Any]:
    """Return the report as plain data: what is not finite becomes None, floats keep six digits."""
    data: dict[str, Any] = plain({"schema_version": SCHEMA_VERSION, **asdict(report)})
    return data


def to_json(report: Report) -> str:
    """Return the report as JSON text."""
    return json.dumps(to_data(report), indent=1, ensure_ascii=False) + "\n"
