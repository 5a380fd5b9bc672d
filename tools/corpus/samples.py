"""Inputs for a model: given samples, or random ones that match the model's declared inputs."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

Sample = dict[str, np.ndarray[Any, Any]]

SIZES = (16, 64, 224, 1, 4, 8, 32, 128, 160, 320, 512, 576, 640, 2, 3, 1024, 16000)
"""Sizes tried for open dimensions, until the model runs; the batch stays 1."""

BOUNDS = (8, 2, 1)
"""Whole numbers are drawn from zero up to these, excluded; indices and kinds of token are often few."""

RATES = (16000,)
"""Tried for inputs of one whole number, after the bounds: sampling rates."""

ELEMENTS = 1 << 24
"""Most elements of one input."""

FLOATS = {"float16": np.float16, "float": np.float32, "double": np.float64}
WORDS = np.array(["alpha", "beta", "gamma", "delta", ""])


@dataclass(frozen=True)
class Input:
    """An input as the model declares it; open dimensions are names or None."""

    name: str
    type: str
    shape: list[int | str | None]


@dataclass(frozen=True)
class Recipe:
    """How inputs are drawn: the size of open dimensions, the bound of whole numbers, a fixed scalar if any.

    With `only_last`, an open dimension takes the size only where it is the last one of its input: states of
    recurrent networks have their batch in the middle.
    """

    size: int = 16
    only_last: bool = False
    bound: int = 8
    scalar: int | None = None


def recipes(declared: list[Input]) -> Iterator[Recipe]:
    """Yield the recipes worth a try for a model with these inputs, the likeliest first."""
    types = {_kind(value.type) for value in declared}
    is_open = any(not isinstance(size, int) for value in declared for size in value.shape)
    whole = any(kind.startswith(("int", "uint")) and kind != "uint8" for kind in types)
    bounds = BOUNDS if whole else BOUNDS[:1]
    scalars = (None, *RATES) if whole else (None,)
    sizes, last = (SIZES, (False, True)) if is_open else (SIZES[:1], (False,))
    for size, only_last, scalar, bound in product(sizes, last, scalars, bounds):
        yield Recipe(size, only_last, bound, scalar)


def draw(declared: list[Input], recipe: Recipe, seed: str) -> Sample | None:
    """Draw one sample; None when an input has a type or a size for which nothing can be drawn.

    Dimensions of one name get one size. Floats are standard normal.
    """
    rng = np.random.default_rng(zlib.crc32(seed.encode()))
    sample: Sample = {}
    for value in declared:
        shape = [_size(value.shape, axis, recipe) for axis in range(len(value.shape))]
        if np.prod(shape, dtype=float) > ELEMENTS:
            return None
        array = _values(_kind(value.type), shape, recipe, rng)
        if array is None:
            return None
        sample[value.name] = array
    return sample


def _kind(text: str) -> str:
    return text.removeprefix("tensor(").removesuffix(")")


def _size(shape: list[int | str | None], axis: int, recipe: Recipe) -> int:
    size = shape[axis]
    if isinstance(size, int) and size >= 0:
        return size
    named_batch = isinstance(size, str) and "batch" in size.lower()
    is_single = (axis == 0 and len(shape) > 1) or named_batch or (recipe.only_last and axis < len(shape) - 1)
    return 1 if is_single else recipe.size


def _values(kind: str, shape: list[int], recipe: Recipe, rng: np.random.Generator) -> Any:
    if kind in FLOATS:
        return rng.standard_normal(shape).astype(FLOATS[kind])
    if kind == "bool":
        return rng.random(shape) < 0.5
    if kind == "string":
        return rng.choice(WORDS, shape).astype(object)
    if kind == "uint8":
        return rng.integers(0, 256, shape, np.uint8)
    if kind.startswith(("int", "uint")) and hasattr(np, kind):
        if recipe.scalar is not None and np.prod(shape) == 1:
            return np.full(shape, recipe.scalar, kind)
        return rng.integers(0, recipe.bound, shape).astype(kind)
    return None


def given(model: Path, data: Path) -> list[Sample]:
    """Return the samples that lie in `data`: ``<stem>.npz`` and ``<stem>.*.npz``, an array per input."""
    files = [data / f"{model.stem}.npz", *sorted(data.glob(f"{_escaped(model.stem)}.*.npz"))]
    return [_read(np.load(file)) for file in files if file.exists()]


def _read(arrays: Mapping[str, np.ndarray[Any, Any]]) -> Sample:
    return {
        name: array.astype(object) if array.dtype.kind == "U" else array
        for name, array in ((name, arrays[name]) for name in arrays)
    }


def _escaped(text: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in text)
