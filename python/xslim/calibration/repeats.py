"""Recognise samples that repeat others: figures on them flatter, as the result was fitted to them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xslim.calibration.lists import Entry

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


def first_equal(lists: Sequence[Sequence[Entry]]) -> list[int]:
    """Return for every sample the number of the first sample whose files are all equal to its own.

    Parameters
    ----------
    lists : sequence of sequence of Entry
        The files of every input, which are zipped; a list of one file is that of all samples.

    Notes
    -----
    If a file cannot be read, or there are more than `MOST_FILES` samples, nothing is compared: every sample
    is the first of its kind.
    """
    count = max(map(len, lists), default=0)
    apart = list(range(count))
    compared = [[entry.path for entry in entries] for entries in lists if len(entries) > 1]
    if not compared or count > MOST_FILES:
        return apart
    try:
        samples = list(zip(*map(_contents, compared), strict=True))
    except OSError:
        return apart
    firsts: dict[tuple[Key, ...], int] = {}
    return [firsts.setdefault(sample, number) for number, sample in enumerate(samples)]


def _contents(paths: Sequence[Path]) -> list[Key]:
    """Return a key per file, equal for files of equal contents."""
    heads = {path: _key(path, HEAD) for path in paths}
    shared = Counter(heads.values())
    whole = {path: _key(path, -1) if shared[head] > 1 else head for path, head in heads.items()}
    return [whole[path] for path in paths]


def _key(path: Path, size: int) -> Key:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.blake2b(file.read(size)).digest()
