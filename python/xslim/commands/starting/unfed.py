"""Values for inputs that no data feed: states before the first step, rates, masks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.inputs import InputSpec

Array = NDArray[Any]
Sizes = Sequence[int]

USUAL_RATE = 16000
STATE_NAMES = re.compile(r"(^|[_.])(h|c|h_?0|c_?0|hx|cx|states?|hidden|cell|memory|caches?|past)([_.:0-9]|$)")


@dataclass(frozen=True)
class Filling:
    """What an input without data gets.

    Attributes
    ----------
    make : callable
        Makes the values for given sizes.
    reason : str
        The comment in the configuration.
    follows : bool
        Whether its sizes are those of another input's data, so that it needs data to follow.
    is_rate : bool
        Whether the values are to be multiplied by the sampling rate.
    """

    make: Callable[[Sizes], Array]
    reason: str
    follows: bool = False
    is_rate: bool = False


def _positions(sizes: Sizes) -> Array:
    return np.broadcast_to(np.arange(sizes[-1]), sizes)


STATE = Filling(
    np.zeros,
    "CHECK: a state: zeros, then where the model runs the state that it reaches, sample after sample.",
)
RATE = Filling(np.ones, "CHECK: the sampling rate.", is_rate=True)
KNOWN = (
    (re.compile(r"^(sr|fs|(sample|sampling)_?rate)$"), RATE),
    (re.compile(r"(^|_)mask$"), Filling(np.ones, "CHECK: all ones.", follows=True)),
    (
        re.compile(r"^(token_type|segment)_ids$"),
        Filling(np.zeros, "CHECK: all zeros, the first sentence.", follows=True),
    ),
    (re.compile(r"^position_ids$"), Filling(_positions, "CHECK: positions from 0.", follows=True)),
    (re.compile(r"^scale_factor$"), Filling(np.ones, "CHECK: no scaling.")),
)
ONE_NUMBER = Filling(np.ones, "CHECK: a single number that the model wants; 1 is only a guess.")


def fillings(model: ir.Model, specs: Sequence[InputSpec]) -> dict[str, Filling]:
    """Return the inputs that can do without data, and what they get; never all inputs of a model."""
    found = {spec.name: filling for spec in specs if (filling := _filling(spec, model)) is not None}
    return found if len(found) < len(specs) else {}


def _filling(spec: InputSpec, model: ir.Model) -> Filling | None:
    name = spec.name.lower()
    for pattern, filling in KNOWN:
        if pattern.search(name):
            return filling
    if spec.shape is None:
        return None
    if any(_continues(spec, output) for output in model.graph.outputs):
        return STATE
    return ONE_NUMBER if all(size == 1 for size in spec.shape) else None


def _continues(spec: InputSpec, output: ir.Value) -> bool:
    """Whether an output is the next value of a state: its type and sizes, and a name that belongs to it."""
    if output.dtype is None or output.dtype.numpy() != spec.dtype or spec.shape is None:
        return False
    if output.shape is not None:
        sizes = [size if isinstance(size, int) and size > 0 else None for size in output.shape]
        pairs = zip(sizes, spec.shape, strict=False)
        if len(sizes) != len(spec.shape) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
            return False
    own, other = _stem(spec.name), _stem(output.name or "")
    return (own == other != "") or bool(STATE_NAMES.search(spec.name.lower()))


def following(model: ir.Model, specs: Sequence[InputSpec]) -> dict[str, str]:
    """Return the states of which it is clear which output holds their next value, and that output."""
    found = {}
    for spec in specs:
        outputs = [str(output.name) for output in model.graph.outputs if _continues(spec, output)]
        named = [name for name in outputs if _stem(name) == _stem(spec.name)] or [
            name for name in outputs if name.lower().startswith(spec.name.lower())
        ]
        chosen = named or outputs
        if len(chosen) == 1:
            found[spec.name] = chosen[0]
    return found if len(set(found.values())) == len(found) else {}


def _stem(name: str) -> str:
    """Return the name without what tells the old value of a state from the new one."""
    bare = re.sub(
        r"(past|present|prev(ious)?|next|new|old|last|input|output|out|in)(?=[^a-z]|$)", "", name.lower()
    )
    return re.sub(r"[^a-z0-9]+", "", bare)


def fill(
    spec: InputSpec, filling: Filling, model: ir.Model, fed: Mapping[str, Sequence[Sizes]], rate: int
) -> list[Array]:
    """Return the arrays of an input: one for all samples, or one for each where their sizes differ.

    Parameters
    ----------
    spec : InputSpec
        The input.
    filling : Filling
        What it gets.
    model : onnx_ir.Model
        Names of its symbolic dimensions tell which sizes are equal.
    fed : dict of str to sequence of sizes
        The shapes of the samples of the inputs that have data.
    rate : int
        The sampling rate.
    """
    value = next(value for value in model.graph.inputs if value.name == spec.name)
    names = [None if isinstance(dim, int) else dim.value for dim in value.shape or ()]
    count = max([1, *(len(shapes) for shapes in fed.values())])
    sizes = [
        tuple(
            known if known is not None else _size(name, model, fed, index)
            for known, name in zip(spec.shape or (), names, strict=True)
        )
        for index in range(count)
    ]
    distinct = sizes[:1] if len(set(sizes)) == 1 else sizes
    factor = rate if filling.is_rate else 1
    return [
        np.ascontiguousarray(filling.make(shape) * factor, spec.dtype).reshape(shape) for shape in distinct
    ]


def _size(name: str | None, model: ir.Model, fed: Mapping[str, Sequence[Sizes]], index: int) -> int:
    """Return the size that the data of other inputs have in the dimension of that name, else 1."""
    for value in model.graph.inputs:
        shapes = fed.get(value.name or "")
        if name is None or not shapes or value.shape is None:
            continue
        sizes = shapes[index if len(shapes) > 1 else 0]
        full = (1, *sizes) if len(sizes) == len(value.shape) - 1 else tuple(sizes)
        for dim, size in zip(value.shape, full, strict=False):
            if not isinstance(dim, int) and dim.value == name:
                return size
    return 1
