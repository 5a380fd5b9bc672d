"""Messages between a process and its child: a JSON text, followed by the bytes of the arrays it refers to.

Pickle is not used: a hostile model may control the child, and unpickling the child's messages could run code.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

PLAIN = "biufc"
"""Kinds of numpy types that are sent as raw bytes; strings are sent in the JSON text."""

ARRAY, TEXTS, PAIRS = "array", "texts", "pairs"


def send(stream: BinaryIO, message: Any) -> None:
    """Write one message: nested lists and mappings of text, numbers and arrays.

    Parameters
    ----------
    stream : binary file
        The stream to write to; it is flushed afterwards.
    message : object
        The message. Arrays of types from other libraries, such as bfloat16, are sent under the type's name.

    Raises
    ------
    TypeError
        The message holds something that cannot be sent.
    """
    arrays: list[NDArray[Any]] = []
    header = json.dumps(_pack(message, arrays)).encode()
    stream.write(len(header).to_bytes(8, "little") + header)
    for array in arrays:
        stream.write(array.reshape(-1).view(np.uint8).data)
    stream.flush()


def receive(stream: BinaryIO) -> Any:
    """Read one message.

    Raises
    ------
    EOFError
        The stream ends before or within the message.
    """
    header = json.loads(_exactly(stream, int.from_bytes(_exactly(stream, 8), "little")))
    return _unpack(header, stream)


def _pack(item: Any, arrays: list[NDArray[Any]]) -> Any:
    if isinstance(item, np.ndarray):
        if item.dtype.kind in "OUS":
            return {TEXTS: [list(item.shape), [_text(element) for element in item.reshape(-1)]]}
        arrays.append(np.ascontiguousarray(item))
        name = item.dtype.str if item.dtype.kind in PLAIN else item.dtype.name
        return {ARRAY: [name, list(item.shape)]}
    if isinstance(item, np.generic):
        return _pack(np.asarray(item), arrays)
    if isinstance(item, Mapping):
        return {PAIRS: [[_pack(key, arrays), _pack(value, arrays)] for key, value in item.items()]}
    if isinstance(item, (list, tuple)):
        return [_pack(part, arrays) for part in item]
    if item is None or isinstance(item, (str, int, float)):
        return item
    raise TypeError(f"cannot send {type(item).__name__}")


def _text(element: object) -> str:
    return element.decode("utf-8", "surrogateescape") if isinstance(element, bytes) else str(element)


def _unpack(item: Any, stream: BinaryIO) -> Any:
    if isinstance(item, list):
        return [_unpack(part, stream) for part in item]
    if not isinstance(item, dict):
        return item
    ((kind, content),) = item.items()
    if kind == PAIRS:
        return {_unpack(key, stream): _unpack(value, stream) for key, value in content}
    if kind == TEXTS:
        shape, texts = content
        return np.array(texts, dtype=object).reshape(shape)
    name, shape = content
    array = np.empty(math.prod(shape), _dtype(name))
    _fill(stream, array.view(np.uint8).data)
    return array.reshape(shape)


def _dtype(name: str) -> np.dtype[Any]:
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes

        dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
        return dtype


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _fill(stream: BinaryIO, view: memoryview) -> None:
    done = 0
    while done < len(view):
        count = stream.readinto(view[done:])  # type: ignore[attr-defined]
        if not count:
            raise EOFError
        done += count
