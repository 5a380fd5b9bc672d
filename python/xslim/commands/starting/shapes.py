"""Shapes of calibration files, and what they say about the dimensions that a model leaves open."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xslim.calibration.decode import NpyDecoder
from xslim.calibration.lists import Entry
from xslim.commands.starting.found import Found
from xslim.graph.inputs import InputSpec

MOST_HEADERS = 1000
"""Files whose header is read; more would only take time."""
AREA = 2

Shape = tuple[int, ...]


def shapes_of(spec: InputSpec, found: Found) -> list[Shape]:
    """Return the shapes of the samples, or one for all; nothing if the files do not tell.

    Raises
    ------
    DataError
        A file is damaged, or its type does not suit the input.
    """
    if found.arrays:
        return [found.arrays[path].shape for path in found.files]
    if found.kind == "npy":
        reader = NpyDecoder(spec.dtype)
        entries = [Entry(path.parent / "files", line, path.name) for line, path in enumerate(found.files, 1)]
        return [reader.shape(entry) for entry in entries[:MOST_HEADERS]]
    if found.kind == "raw" and spec.shape is not None:
        sizes = {path.stat().st_size for path in found.files[:MOST_HEADERS] if path.is_file()}
        filled = [_of_bytes(spec, size) for size in sizes]
        return [shape for shape in filled if shape is not None] if len(sizes) == 1 else []
    return []


def _of_bytes(spec: InputSpec, size: int) -> Shape | None:
    """Return the shape of a raw file with one sample: its size tells an open length, or an open square."""
    inner = (spec.shape or ())[1:]
    numbers, rest = divmod(size, spec.dtype.itemsize)
    known = math.prod(length for length in inner if length is not None)
    free = inner.count(None)
    if rest or numbers == 0 or numbers % known or free == 0:
        return None
    length = numbers // known
    if free == AREA:
        length = math.isqrt(length)
    if known * length**free != numbers:
        return None
    return (1, *(length if value is None else value for value in inner))


def open_dimensions(spec: InputSpec, shapes: Sequence[Shape]) -> list[int] | None:
    """Return the shape of the input with what its files tell, or None if they differ or do not fit."""
    if spec.shape is None or not spec.shape:
        return None
    rank = len(spec.shape)
    inner = {shape[1:] if len(shape) == rank else shape for shape in shapes if len(shape) in (rank, rank - 1)}
    if len(inner) != 1:
        return None
    sizes = next(iter(inner))
    fixed = zip(sizes, spec.shape[1:], strict=True)
    if any(wanted is not None and size != wanted for size, wanted in fixed):
        return None
    return [spec.shape[0] or 1, *sizes]
