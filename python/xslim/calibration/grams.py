"""Collectors for refinement: Gram matrices of layer inputs and ranges per channel."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xslim.calibration.collectors import Tensors
from xslim.graph.layers import Vectors, Window
from xslim.kernels import Gram, NonFiniteError, channel_ranges
from xslim.runtime import Blocked

Draw = Callable[[int, int], list[int]]
"""Draws a number of positions, the second argument, out of those available, the first."""

VECTORS_PER_COLUMN = 8
LEAST_VECTORS = 1_024
"""A Gram matrix is built from at least this many vectors over all samples, and from `VECTORS_PER_COLUMN` for
each of its columns if that is more; from all vectors if the samples hold fewer."""


class GramCollector:
    """Gram matrices of the input vectors of layers, built from random positions of every sample.

    The index of the sample is the seed of the positions, so they do not depend on anything else. A matrix is
    unusable if one of its vectors was not finite.

    Parameters
    ----------
    wanted : iterable of Vectors
        The vectors to collect.
    samples : int
        Expected number of runs. It determines how many positions are taken from each run.
    held_back : callable of int to bool
        Tells from the index of a run whether the run must not be used.

    Attributes
    ----------
    grams : dict of Vectors to Gram
        The sums so far.
    """

    def __init__(self, wanted: Iterable[Vectors], samples: int, held_back: Callable[[int], bool]) -> None:
        self.grams = {vectors: Gram(vectors.blocks, vectors.columns) for vectors in wanted}
        self._samples = max(samples, 1)
        self._held_back = held_back
        self._seen = 0

    @property
    def tensors(self) -> Sequence[str]:
        """The tensors that hold the vectors."""
        return list(dict.fromkeys(vectors.source for vectors in self.grams))

    def update(self, arrays: Tensors) -> None:
        """Add the vectors at random positions of one sample."""
        number, self._seen = self._seen, self._seen + 1
        if self._held_back(number):
            return
        # The positions depend on the sample and on two numbers alone, so many layers share them.
        draw = cache(partial(_draw, number))
        for vectors, gram in self.grams.items():
            array = arrays[vectors.source]
            if isinstance(array, Blocked) and vectors.window is None:
                array = array.plain()
            if not isinstance(array, Blocked):
                if array.ndim == 0 or array.size == 0:
                    continue
                array = np.atleast_2d(array)
            count = max(LEAST_VECTORS, VECTORS_PER_COLUMN * vectors.columns)
            if gram.is_finite:
                _add(gram, vectors.window, array, draw, math.ceil(count / self._samples))

    def usable(self) -> dict[Vectors, Gram]:
        """Return the matrices that are not empty and hold finite vectors only."""
        return {vectors: gram for vectors, gram in self.grams.items() if gram.count and gram.is_finite}


def _add(gram: Gram, window: Window | None, array: NDArray[Any] | Blocked, draw: Draw, count: int) -> None:
    # The matrix remembers that a vector is not finite, and is not used.
    with suppress(NonFiniteError):
        _add_vectors(gram, window, array, draw, count)


def _add_vectors(
    gram: Gram, window: Window | None, array: NDArray[Any] | Blocked, draw: Draw, count: int
) -> None:
    if window is None:
        assert not isinstance(array, Blocked)
        gram.add_rows(array, draw(array.size // array.shape[-1], count))
        return
    values, block = (array.values, array.block) if isinstance(array, Blocked) else (array, 1)
    images = values if values.ndim == 4 else values[:, :, None, :]
    output = window.output(images.shape[2], images.shape[3])
    positions = draw(images.shape[0] * output[0] * output[1], count)
    gram.add_patches(
        images, positions, window.kernel, window.strides, window.dilations, window.pads[:2], output, block
    )


def _draw(seed: int, available: int, count: int) -> list[int]:
    if available <= count:
        return list(range(available))
    drawn: list[int] = np.random.default_rng(seed).integers(0, available, count).tolist()
    return drawn


class ChannelRanges:
    """Smallest and largest value per channel.

    Parameters
    ----------
    axes : mapping of str to int or None
        The tensors, with their channel axis; None treats the whole tensor as one channel.

    Attributes
    ----------
    low, high : dict of str to float64 array, shape (channels,)
        The extremes of the batches so far.
    """

    def __init__(self, axes: Mapping[str, int | None]) -> None:
        self._axes = dict(axes)
        self.low: dict[str, NDArray[np.float64]] = {}
        self.high: dict[str, NDArray[np.float64]] = {}

    @property
    def tensors(self) -> Sequence[str]:
        """The observed tensors."""
        return list(self._axes)

    def update(self, arrays: Tensors) -> None:
        """Take in every tensor of one batch."""
        for name, axis in self._axes.items():
            array = arrays[name]
            if isinstance(array, Blocked) and axis == 1:
                images, groups, height, width, block = array.ordered.shape
                values, layout = array.values, (images, groups, height * width, block)
            else:
                values = array.plain() if isinstance(array, Blocked) else array
                layout = _layout(values.shape, axis)
            if values.size == 0:
                continue
            low, high = (found.astype(np.float64) for found in channel_ranges(values, layout))
            self.low[name] = np.minimum(self.low.get(name, low), low)
            self.high[name] = np.maximum(self.high.get(name, high), high)

    @classmethod
    def merged(cls, parts: Sequence[ChannelRanges]) -> ChannelRanges:
        """Return the ranges over all parts; there is at least one part, and all observe the same tensors."""
        whole = cls(parts[0]._axes)
        for name in whole._axes:
            seen = [part for part in parts if name in part.low]
            if seen:
                whole.low[name] = np.minimum.reduce([part.low[name] for part in seen])
                whole.high[name] = np.maximum.reduce([part.high[name] for part in seen])
        return whole

    def largest(self) -> dict[str, NDArray[np.float64]]:
        """Return the largest magnitude per channel of every tensor with a channel axis."""
        return {
            name: np.maximum(-low, self.high[name])
            for name, low in self.low.items()
            if self._axes[name] is not None
        }


def _layout(shape: tuple[int, ...], axis: int | None) -> tuple[int, int, int, int]:
    """Return how the channels of an array lie in memory, for `channel_ranges`."""
    if axis is None:
        return 1, 1, math.prod(shape), 1
    outer, channels, inner = math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])
    return (1, 1, outer, channels) if inner == 1 else (outer, channels, inner, 1)
