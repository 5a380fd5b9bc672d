"""Collectors for folds of the samples: the ranges of channels without each fold, and what a fold judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from xslim.calibration.collectors import Arrays
from xslim.calibration.grams import ChannelRanges
from xslim.refinement.judge import Split
from xslim.runtime import copied


class JudgedTensors:
    """Keeps the judged tensors of the samples of one fold, so that the float model need not run again."""

    def __init__(self, tensors: Sequence[str], split: Split) -> None:
        self.tensors, self.split = tensors, split
        self.rows: list[list[NDArray[np.generic]]] = []
        self._seen = 0

    def update(self, arrays: Arrays) -> None:
        """Keep the judged tensors of one sample if the fold holds the sample."""
        if self.split.holds_back(self._seen):
            self.rows.append(copied([arrays[name] for name in self.tensors]))
        self._seen += 1


class FoldedRanges:
    """Collects ranges per channel for every fold of the samples.

    Sample number ``n`` belongs to fold ``n % count``. The collector gets every `step`-th sample only.
    """

    def __init__(self, axes: Mapping[str, int | None], count: int, step: int) -> None:
        self._parts = [ChannelRanges(axes) for _ in range(count)]
        self._step = step
        self._seen = 0

    @property
    def count(self) -> int:
        """Number of folds."""
        return len(self._parts)

    @property
    def tensors(self) -> Sequence[str]:
        """The observed tensors."""
        return self._parts[0].tensors

    def update(self, arrays: Arrays) -> None:
        """Add the ranges of one sample to those of its fold."""
        self._parts[self._seen * self._step % len(self._parts)].update(arrays)
        self._seen += 1

    def without(self, fold: int | None) -> ChannelRanges:
        """Return the ranges of all folds except one; if there is only one fold, it is included."""
        return ChannelRanges.merged(
            [part for index, part in enumerate(self._parts) if index != fold or len(self._parts) == 1]
        )
