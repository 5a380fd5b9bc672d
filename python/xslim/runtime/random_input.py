"""Input for a trial run when there is no data: random, small, and of a kind that the model can take."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.inputs import InputSpec, input_specs
from xslim.graph.limits import TRIAL_ELEMENTS, limit
from xslim.graph.ops import is_standard, static_shape
from xslim.graph.trial_cost import elements_of_a_run
from xslim.runtime.random_texts import draw_texts, known_texts

SEED = 0

IMAGE_SIZES = (64, 224, 320, 512, 8, 1)
"""What unknown heights and widths are tried with, in turn."""

SEQUENCE_SIZES = (16, 64, 1, 256, 512)
"""What other unknown dimensions are tried with."""

SMALLEST_TABLE = 2
"""Rows assumed for an integer input that indexes no table. Its values are 0 or 1, which suits masks and
flags."""

TEXTS = "O"
"""Kind of numpy's type for tensors of strings."""

Array = NDArray[np.generic]
Shapes = dict[str, tuple[int, ...]]


def random_feeds(model: ir.Model) -> Iterator[dict[str, Array]]:
    """Yield inputs to try, one set after another, until the model takes one.

    Floats are standard normal, in later sets uniform between 0 and 1. Integers are valid rows of the table
    that they index, booleans are true or false alike, strings are words from the attributes of the model.
    Unknown first dimensions are 1, and so are dimensions of the same name. All other unknown dimensions have
    one common size, which differs from set to set, small sizes first. In the last sets only unknown last
    dimensions are larger than 1. Sets that would need more than ``XSLIM_TRIAL_ELEMENTS`` are left out.
    The same model always gets the same numbers.

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
    words = known_texts(model)
    limits = {value.name: _table_size(value) for value in model.graph.inputs}
    for shapes, uniform in _sets(model, specs):
        random = np.random.default_rng(SEED)
        feeds = {
            spec.name: _draw(spec.dtype, shapes[spec.name], limits[spec.name], random, uniform)
            for spec in specs
            if spec.dtype.kind != TEXTS
        }
        for spec in (spec for spec in specs if spec.dtype.kind == TEXTS):
            feeds[spec.name] = draw_texts(words, shapes[spec.name], random)
        yield feeds


def _sets(model: ir.Model, specs: Sequence[InputSpec]) -> Iterator[tuple[Shapes, bool]]:
    """Shapes to try, and whether floats are uniform."""
    images = any(spec.shape is not None and len(spec.shape) == 4 for spec in specs)
    sizes = IMAGE_SIZES if images else SEQUENCE_SIZES
    dims = {spec.name: _dims(model, spec) for spec in specs}
    batches = {shape[0] for shape in dims.values() if shape and isinstance(shape[0], str)}
    most, tried = limit(TRIAL_ELEMENTS), []
    for last_only, size in product((False, True), sizes):
        shapes = {name: _fill(shape, size, batches, last_only=last_only) for name, shape in dims.items()}
        if shapes in tried:
            continue
        tried.append(shapes)
        if sum(math.prod(shape) for shape in shapes.values()) > most:
            continue
        open_dims = any(isinstance(dim, str) for shape in dims.values() for dim in shape)
        if open_dims and elements_of_a_run(model, shapes) > most:
            continue
        yield shapes, False
    if len(tried) == 1:
        yield from ((shapes, True) for shapes in tried if sum(map(math.prod, shapes.values())) <= most)


def _dims(model: ir.Model, spec: InputSpec) -> tuple[int | str, ...]:
    """Sizes of an input; a dimension that is not known has a name, which is its own if it had none."""
    if spec.shape is None:
        return (1,)
    value = next(value for value in model.graph.inputs if value.name == spec.name)
    named = [dim.value if isinstance(dim, ir.SymbolicDim) else None for dim in value.shape or ()]
    return tuple(
        size or name or f"{spec.name}/{axis}"
        for axis, (size, name) in enumerate(zip(spec.shape, named, strict=True))
    )


def _fill(dims: Sequence[int | str], size: int, batches: set[str], *, last_only: bool) -> tuple[int, ...]:
    ones = batches.union(dim for dim in dims[:-1] if isinstance(dim, str)) if last_only else batches
    return tuple(dim if isinstance(dim, int) else 1 if dim in ones else size for dim in dims)


def _draw(
    dtype: np.dtype[np.generic], shape: Sequence[int], limit: int, random: np.random.Generator, uniform: bool
) -> Array:
    """Random numbers, made in the type itself where numpy can, so that no larger copy exists."""
    if dtype.kind == "b":
        return random.integers(0, 2, shape, dtype=np.bool_)
    if dtype.kind in "iu":
        return random.integers(0, min(limit, int(np.iinfo(dtype.name).max)), shape, dtype=dtype.type)
    if dtype.name.startswith(("int", "uint")):
        return random.integers(0, SMALLEST_TABLE, shape, dtype=np.uint8).astype(dtype)
    made = np.float64 if dtype == np.float64 else np.float32
    drawn = random.random(shape, made) if uniform else random.standard_normal(shape, made)
    return np.asarray(drawn).astype(dtype, copy=False)


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
