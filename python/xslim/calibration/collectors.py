"""Collectors: each gathers statistics of the tensors it names while the float model runs on the samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xslim import kernels
from xslim.runtime import Blocked

Arrays = Mapping[str, NDArray[np.generic]]
Tensors = Mapping[str, NDArray[Any] | Blocked]
"""Tensors in the usual order or in blocks of channels."""


class Collector(Protocol):
    """Gathers statistics of the tensors it names."""

    @property
    def tensors(self) -> Sequence[str]:
        """Names of the tensors that `update` needs."""

    def update(self, arrays: Any) -> None:
        """Take in one batch.

        The caller calls this once per batch, in the order of the samples, from one thread at a time.
        Floating-point sums therefore do not depend on the number of threads. The caller drops the arrays
        afterwards.
        """


class SketchCollector:
    """One sketch per tensor.

    Parameters
    ----------
    sketches : mapping of str to Sketch
        The sketches to update.
    skip : int
        Number of batches that the sketches contain already; the first `skip` updates are ignored.
    parallel : bool
        Whether all threads observe one batch together. If other batches keep every core busy at the same
        time, observing in the calling thread alone is faster.

    Attributes
    ----------
    batches : int
        Number of batches that the sketches contain.
    """

    def __init__(
        self, sketches: Mapping[str, kernels.Sketch], skip: int = 0, *, parallel: bool = True
    ) -> None:
        self.sketches = dict(sketches)
        self.batches = skip
        self._left_to_skip = skip
        self._parallel = parallel

    @property
    def tensors(self) -> Sequence[str]:
        """The observed tensors."""
        return list(self.sketches)

    def update(self, arrays: Tensors) -> None:
        """Observe every tensor of one batch."""
        if self._left_to_skip:
            self._left_to_skip -= 1
            return
        # A sketch does not depend on the order of the values.
        found = (arrays[name] for name in self.sketches)
        values = [array.values if isinstance(array, Blocked) else array for array in found]
        kernels.observe_many(list(self.sketches.values()), values, parallel=self._parallel)
        self.batches += 1
