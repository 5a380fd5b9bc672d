"""Recognise samples that all repeat one: figures on them flatter, as ranges and weights were fitted to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def are_equal(samples: Sequence[Mapping[str, NDArray[Any]]]) -> bool:
    """Whether there are several samples, and all inputs of all of them hold the same values."""
    return len(samples) > 1 and all(
        np.array_equal(sample[name], first) for name, first in samples[0].items() for sample in samples[1:]
    )
