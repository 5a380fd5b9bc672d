"""The key under which sketches can be used again: what model saw which samples, prepared how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import onnx_ir as ir

from xslim.calibration.data import CalibrationData
from xslim.calibration.preprocess import UserFunction
from xslim.calibration.sources import Source
from xslim.errors import DataError
from xslim.graph.detached import detach


def calibration_key(model: ir.Model, tensors: Sequence[str], data: CalibrationData) -> str:
    """Hash everything that decides what the sketches of a run hold.

    Parameters
    ----------
    model : onnx_ir.Model
        The prepared model: its weights and structure count, not its path.
    tensors : sequence of str
        The observed tensors.
    data : CalibrationData
        The content of every file counts, in order, and how it is decoded; paths do not. Of a
        preprocessing function the file that holds it counts, not what that file imports.

    Returns
    -------
    str
        64 hexadecimal digits.

    Raises
    ------
    DataError
        A file cannot be read.
    """
    structure, weights = detach(model)
    digest = hashlib.sha256(structure)
    for array in weights.values():
        digest.update(array.data)
    digest.update(json.dumps(list(tensors)).encode())
    content = cache(_file_digest)
    for source in data.sources:
        digest.update(_how_it_is_read(source))
        for entry in source.entries:
            digest.update(content(entry.path))
    return digest.hexdigest()


def _how_it_is_read(source: Source) -> bytes:
    parameters = source.parameters.model_dump(mode="json", exclude={"data_list_path"})
    text = json.dumps([source.name, source.shape, parameters], sort_keys=True).encode()
    if isinstance(source.reader, UserFunction):
        text += _file_digest(source.reader.path)
    return text


def _file_digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror or error}", where=str(path)) from error
