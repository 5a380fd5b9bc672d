"""Find columns of an output that a quantised model has lost, although the output as a whole looks fine.

A detector returns boxes of 0 to 640 beside scores of 0 to 1. If one scale serves both, the scores are lost,
and the signal-to-noise ratio of the whole output, which the boxes determine, does not show it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

SMALL = 1.0 / 8.0
"""A column whose magnitude is below this share of the largest column's loses three of eight bits to it."""
LOST_DB = 6.0
"""Small columns are lost if their noise is above a quarter of their variance."""
FINE_DB = 15.0
"""Below this SQNR, the output as a whole is poor, which other findings explain."""
MOST_COLUMNS = 512
FEWEST_VALUES = 64
"""Least number of values in a column, over all samples, for a reliable figure."""


@dataclass(frozen=True)
class LostColumns:
    """Columns of one output whose values are lost.

    Attributes
    ----------
    axis : int
        The axis along which the columns lie.
    columns : tuple of int
        Their numbers.
    sqnr_db : float
        Variance of these columns over their noise, in dB.
    whole_db : float
        SQNR of the whole output in dB.
    """

    axis: int
    columns: tuple[int, ...]
    sqnr_db: float
    whole_db: float

    @property
    def words(self) -> str:
        """The columns as text, such as ``4 to 84``."""
        first, last = self.columns[0], self.columns[-1]
        if len(self.columns) == last - first + 1:
            return f"{first} to {last}" if last > first else str(first)
        return f"{len(self.columns)} between {first} and {last}"


class ColumnErrors:
    """Sums of one output along its axes, over all samples."""

    def __init__(self) -> None:
        self._sums: dict[int, Vector] | None = {}

    def add(self, reference: NDArray[np.generic], found: NDArray[np.generic]) -> None:
        """Add one sample; samples whose shape differs from that of the others make the columns unknown."""
        self._add({axis: _sums(reference, found, axis) for axis in _axes(reference.shape)})

    def merge(self, other: ColumnErrors) -> None:
        """Add the sums of other samples."""
        self._add(other._sums)

    def _add(self, sums: dict[int, Vector] | None) -> None:
        if self._sums is None or sums is None:
            self._sums = None
        elif not self._sums:
            self._sums = dict(sums)
        elif sums:
            alike = {axis: values.shape for axis, values in sums.items()}
            if alike != {axis: values.shape for axis, values in self._sums.items()}:
                self._sums = None
                return
            self._sums = {axis: values + sums[axis] for axis, values in self._sums.items()}

    def split(self) -> Split | None:
        """Return the columns of small values; of several axes, the shortest one that has any."""
        for axis, (count, _, energy, _) in sorted((self._sums or {}).items(), key=lambda item: item[1].shape):
            small = _is_small(energy, count)
            if count[0] >= FEWEST_VALUES and small.any():
                small_places, large_places = np.flatnonzero(small), np.flatnonzero(~small)
                return Split(axis, tuple(map(int, small_places)), tuple(map(int, large_places)))
        return None

    def lost(self) -> LostColumns | None:
        """Return the columns that are lost, or None if there are none."""
        found = [lost for axis, sums in (self._sums or {}).items() if (lost := _lost(axis, sums)) is not None]
        return min(found, key=lambda lost: lost.sqnr_db, default=None)


@dataclass(frozen=True)
class Split:
    """Columns of far smaller values than the others have.

    Attributes
    ----------
    axis : int
        The axis along which the columns lie.
    small : tuple of int
        The columns of small values.
    large : tuple of int
        All other columns.
    """

    axis: int
    small: tuple[int, ...]
    large: tuple[int, ...]

    def parts(self, array: NDArray[np.generic]) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
        """Return the large and the small columns of an array; one of another size counts as large."""
        if array.shape[self.axis] != len(self.small) + len(self.large):
            return array, np.empty(0, array.dtype)
        return np.take(array, self.large, self.axis), np.take(array, self.small, self.axis)


def split_columns(samples: Sequence[NDArray[np.generic]]) -> Split | None:
    """Return the split of the columns of an output into large and small ones, or None if all are alike."""
    columns = ColumnErrors()
    for sample in samples:
        columns.add(sample, sample)
    return columns.split()


def _axes(shape: Sequence[int]) -> list[int]:
    """Return the axes that may hold columns: not the batch, and not the rows of pictures."""
    axes = {1: [], 2: [1], 3: [1, 2], 4: [1]}.get(len(shape), [len(shape) - 1])
    return [axis for axis in axes if 0 < axis < len(shape) and 2 <= shape[axis] <= MOST_COLUMNS]


def _sums(reference: NDArray[np.generic], found: NDArray[np.generic], axis: int) -> Vector:
    """Return count, sum, sum of squares, and noise of every column; shape (4, columns)."""
    others = tuple(other for other in range(reference.ndim) if other != axis)
    values = np.nan_to_num(reference.astype(np.float64), posinf=0.0, neginf=0.0)
    errors = np.nan_to_num(found.astype(np.float64), posinf=0.0, neginf=0.0) - values
    count = np.full(reference.shape[axis], reference.size / reference.shape[axis])
    return np.stack([count, values.sum(others), (values**2).sum(others), (errors**2).sum(others)])


def _lost(axis: int, sums: Vector) -> LostColumns | None:
    count, total, energy, noise = sums
    whole_db = _db(float(energy.sum()), float(noise.sum()))
    if whole_db < FINE_DB or count[0] < FEWEST_VALUES:
        return None
    small = _is_small(energy, count)
    signal = float((energy - total**2 / count)[small].sum())
    if not small.any() or signal <= 0:
        return None
    db = _db(signal, float(noise[small].sum()))
    if db >= LOST_DB:
        return None
    return LostColumns(axis, tuple(int(index) for index in np.flatnonzero(small)), db, whole_db)


def _is_small(energy: Vector, count: Vector) -> NDArray[np.bool_]:
    """Whether each column has values, far smaller than those of the largest column."""
    power = energy / count
    return np.asarray((power < SMALL**2 * power.max()) & (power > 0))


def _db(signal: float, noise: float) -> float:
    return (
        10.0 * math.log10(signal / noise)
        if noise > 0 and signal > 0
        else math.inf
        if noise == 0
        else -math.inf
    )
