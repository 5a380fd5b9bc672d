"""Random inputs for a trial run without data, chosen so that the model can run on them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.inputs import InputSpec, input_specs
from xslim.graph.ops import is_standard, static_shape
from xslim.runtime.random_texts import draw_texts, known_texts

SEED = 0

IMAGE_SIZES = (224, 64, 320, 512)
"""Sizes to try, in this order, for unknown heights and widths."""

SEQUENCE_SIZES = (16, 64, 256, 512, 1)
"""Sizes to try, in this order, for other unknown dimensions."""

SMALLEST_TABLE = 2
"""Rows assumed for an integer input that indexes no table. Its values are 0 or 1, which suits masks and
flags."""


TEXTS = "O"
"""Kind of numpy's type for tensors of strings."""


def random_feeds(model: ir.Model) -> Iterator[dict[str, NDArray[np.generic]]]:
    """Yield sets of inputs; the caller tries one after another until the model runs.

    Floats are standard normal, integers are valid rows of the table that they index, booleans are true or
    false with equal probability, strings are words from the model's attributes. Unknown first dimensions
    are 1. All other unknown dimensions have one common size, which differs from set to set. In the last sets
    only unknown last dimensions are larger than 1. The same model always gets the same numbers.

    Parameters
    ----------
    model : onnx_ir.Model
        A model whose inputs are tensors of numbers or strings.

    Yields
    ------
    dict of str to ndarray

    Raises
    ------
    ModelError
        An input is not a tensor.
    """
    specs = input_specs(model, texts=True)
    known = all(spec.shape is not None and all(dim is not None for dim in spec.shape[1:]) for spec in specs)
    images = any(spec.shape is not None and len(spec.shape) == 4 for spec in specs)
    sizes = IMAGE_SIZES if images else SEQUENCE_SIZES
    limits = {value.name: _table_size(value) for value in model.graph.inputs}
    for fill, size in [(_fill_all, sizes[0])] if known else product((_fill_all, _fill_last), sizes):
        random = np.random.default_rng(SEED)
        feeds = {
            spec.name: _draw(spec, fill(spec, size), limits[spec.name], random)
            for spec in specs
            if spec.dtype.kind != TEXTS
        }
        for spec in (spec for spec in specs if spec.dtype.kind == TEXTS):
            feeds[spec.name] = draw_texts(known_texts(model), fill(spec, size), random)
        yield feeds


def _fill_all(spec: InputSpec, size: int) -> list[int]:
    return [dim or (size if axis else 1) for axis, dim in enumerate(_dims(spec))]


def _fill_last(spec: InputSpec, size: int) -> list[int]:
    dims = _dims(spec)
    return [dim or 1 for dim in dims[:-1]] + [dim or size for dim in dims[-1:]]


def _dims(spec: InputSpec) -> tuple[int | None, ...]:
    return (1,) if spec.shape is None else spec.shape


def _draw(spec: InputSpec, shape: list[int], limit: int, random: np.random.Generator) -> NDArray[np.generic]:
    if spec.dtype.kind == "b":
        return np.asarray(random.random(shape) < 0.5)
    if spec.dtype.kind in "iu":
        largest = min(limit, int(np.iinfo(spec.dtype.name).max))
        return np.asarray(random.integers(0, largest, shape)).astype(spec.dtype)
    return np.asarray(random.standard_normal(shape)).astype(spec.dtype)


def _table_size(value: ir.Value) -> int:
    """Return the rows of the smallest table that the value indexes; `SMALLEST_TABLE` if there is none."""
    return min(_tables(value), default=SMALLEST_TABLE)


def _tables(value: ir.Value) -> list[int]:
    """Return the rows of every table that the value indexes, directly or after a Cast."""
    sizes = []
    for node, position in value.uses():
        if is_standard(node, "Cast"):
            sizes += _tables(node.outputs[0])
        elif is_standard(node, "Gather") and position == 1:
            shape = static_shape(node.inputs[0])
            sizes += [shape[node.attributes.get_int("axis", 0)]] if shape else []
    return [size for size in sizes if size > 0]
