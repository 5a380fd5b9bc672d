"""Read the JSON report of an earlier run."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xslim.analysis.as_json import SCHEMA_VERSION
from xslim.analysis.facts import FloatOperator
from xslim.errors import DataError
from xslim.files import require_content

WANTED = "give the <output_prefix>_report.json of a static run"


@dataclass(frozen=True)
class StoredTensor:
    """One int8 activation of a stored report, with its SQNR in dB."""

    name: str
    op_name: str
    op_type: str
    accumulated: float
    local: float


@dataclass(frozen=True)
class StoredReport:
    """What a comparison needs of a stored report.

    Attributes
    ----------
    path : Path
        Its file.
    name : str
        Name of the result that it describes.
    operators, int8_operators : int
        Operators before quantisation, and how many of them are int8.
    samples : int
        Number of the samples that were compared.
    outputs : mapping of str to float
        SQNR of every output in dB.
    tensors : mapping of str to StoredTensor
        By name, along the network.
    float_operators : tuple of FloatOperator, or None
        None in reports of versions that did not list them.
    config : mapping
        The configuration.
    """

    path: Path
    name: str
    operators: int
    int8_operators: int
    samples: int
    outputs: Mapping[str, float]
    tensors: Mapping[str, StoredTensor]
    float_operators: tuple[FloatOperator, ...] | None
    config: Mapping[str, Any]


def read_report(path: Path) -> StoredReport:
    """Read a JSON report.

    Raises
    ------
    DataError
        There is no such file, or it is no report of XSlim, or of a later version.
    """
    data = _object(path)
    version = data.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise DataError(
            f"the report has schema version {version}, this XSlim reads {SCHEMA_VERSION}",
            where=str(path),
            hint="update XSlim",
        )
    try:
        return _report(path, data)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError("this JSON is no report of XSlim", where=str(path), hint=WANTED) from error


def _object(path: Path) -> Mapping[str, Any]:
    try:
        require_content(path)
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError("there is no such report", where=str(path), hint=WANTED) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "it is no UTF-8 text"
        raise DataError(f"cannot read the report: {reason}", where=str(path), hint=WANTED) from error
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError("the report is no JSON", where=str(path), hint=WANTED) from None
    return data if isinstance(data, dict) else {}


def _report(path: Path, data: Mapping[str, Any]) -> StoredReport:
    model = data["model"]
    listed = data.get("float_operators")
    tensors = (
        StoredTensor(
            str(row["name"]),
            str(row["op_name"]),
            str(row["op_type"]),
            _level(row["accumulated"]),
            _level(row["local"]),
        )
        for row in data["tensors"]
    )
    return StoredReport(
        path=path,
        name=str(model["name"]),
        operators=int(model["operators"]),
        int8_operators=int(model["int8_operators"]),
        samples=int(data["compared_samples"]),
        outputs={str(row["name"]): _level(row["errors"]) for row in data["outputs"]},
        tensors={tensor.name: tensor for tensor in tensors},
        float_operators=None if listed is None else tuple(FloatOperator(**row) for row in listed),
        config=dict(data["config"]),
    )


def _level(errors: Mapping[str, Any]) -> float:
    """Return the SQNR in dB; null stands for infinities, which the ratio tells apart."""
    level = errors["sqnr_db"]
    if level is None:
        return math.inf if errors["snr"] == 0 else -math.inf
    return float(level)
