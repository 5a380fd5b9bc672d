"""Recognise samples that repeat others: figures on them flatter, as the result was fitted to them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xslim.calibration.sources import Source

HEAD = 1 << 16
"""Number of bytes of a file that are read first; the rest is read only if another file begins alike."""
MOST_FILES = 10_000
"""Files of longer lists are not read."""

Key = tuple[int, bytes]


def are_equal(samples: Sequence[Mapping[str, NDArray[Any]]]) -> bool:
    """Whether there are several samples, and all inputs of all of them hold the same values."""
    return len(samples) > 1 and all(
        np.array_equal(sample[name], first) for name, first in samples[0].items() for sample in samples[1:]
    )


def count_copies(sources: Sequence[Source]) -> int:
    """Count the samples whose files are all equal to those of an earlier sample.

    Files that cannot be read, and lists of more than `MOST_FILES`, are not compared.
    """
    lists = [[entry.path for entry in source.entries] for source in sources if len(source.entries) > 1]
    if not lists or len(lists[0]) > MOST_FILES:
        return 0
    try:
        samples = list(zip(*map(_contents, lists), strict=True))
    except OSError:
        return 0
    return len(samples) - len(set(samples))


def _contents(paths: Sequence[Path]) -> list[Key]:
    """Return a key per file, equal for files of equal contents."""
    heads = {path: _key(path, HEAD) for path in paths}
    shared = Counter(heads.values())
    whole = {path: _key(path, -1) if shared[head] > 1 else head for path, head in heads.items()}
    return [whole[path] for path in paths]


def _key(path: Path, size: int) -> Key:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.blake2b(file.read(size)).digest()
