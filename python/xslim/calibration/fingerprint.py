"""The key of stored sketches: a hash of the model, the samples and how the samples are decoded."""

from __future__ import annotations

import hashlib
import json
import secrets
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
    """Hash everything that determines the contents of the sketches of a run.

    Parameters
    ----------
    model : onnx_ir.Model
        The prepared model. Its weights and its structure are hashed, its path is not.
    tensors : sequence of str
        The observed tensors.
    data : CalibrationData
        The samples. The contents of all files, their order and how they are decoded are hashed, their paths
        are not. The file of a preprocessing function is hashed, the modules that it imports are not.

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
        # What a function of the user's program does is unknown, so its sketches are never used again.
        path = source.reader.path
        text += secrets.token_bytes(16) if path is None else _file_digest(path)
    return text


def _file_digest(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        raise DataError(f"cannot read: {error.strerror or error}", where=str(path)) from error
