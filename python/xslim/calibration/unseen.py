"""Samples that calibration does not see, so that the comparison at the end of a run does not flatter.

A range, a fit or a choice is always better on the samples that determined it, and on copies of these. The
result is therefore compared on other ones: on files that the list names after the first ``calibration_step``,
or else on an eighth of the samples, which are held back from calibration, or a quarter if
``comparison_samples`` is given.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from xslim.calibration.data import CalibrationData
from xslim.calibration.lists import MOST_UNSEEN, Entry, evenly_spread
from xslim.calibration.preprocess import UserFunction
from xslim.calibration.repeats import first_equal
from xslim.errors import DataError
from xslim.runtime import Feeds

logger = logging.getLogger(__name__)

LEAST_RUNS, PART, LARGEST_PART = 16, 8, 4
"""With fewer runs of the model, none is held back: calibration needs all of them. Of twelve photographs, one
that was held back held the extremes of a face detector, which lost 7 dB on unseen photographs. Of more
samples, one in `PART` is held back, or one in `LARGEST_PART` if the configuration asks for so many."""


@dataclass(frozen=True)
class Divided:
    """Calibration data, and samples that are not among them.

    Attributes
    ----------
    seen : CalibrationData
        The samples for calibration; copies of earlier ones come last.
    distinct : CalibrationData
        The first samples of these, without the copies.
    unseen : list of feeds
        The samples for the comparison; empty if there are too few samples.
    copies : int
        Number of given samples that equal an earlier one.
    """

    seen: CalibrationData
    distinct: CalibrationData
    unseen: list[Feeds]
    copies: int


def divide(data: CalibrationData, wanted: int | None = None) -> Divided:
    """Divide calibration data into the samples for calibration and those for the comparison.

    The division depends on the files alone, so every shard of a distributed calibration makes the same one.
    `wanted` is the number of samples to hold back, as far as there are enough. No sample for the comparison
    has a copy among those for calibration.

    Raises
    ------
    DataError
        A sample that is held back cannot be decoded.
    """
    firsts = _first_equal(data)
    distinct = [number for number, first in enumerate(firsts) if number == first]
    unseen, chosen = _further(data), set[int]()
    if not unseen:
        chosen = _held_back(distinct, data.rows, wanted)
        unseen = list(_part(data, sorted(chosen)).samples()) if chosen else []
    kept = [number for number in distinct if number not in chosen]
    copies = [number for number, first in enumerate(firsts) if number != first and first not in chosen]
    seen = _part(data, [*kept, *copies])
    return Divided(seen, _part(data, kept) if copies else seen, unseen, len(firsts) - len(distinct))


def _first_equal(data: CalibrationData) -> list[int]:
    """Return for every sample the first equal one; a user's function may read equal files differently."""
    apart = list(range(len(data)))
    if any(isinstance(source.reader, UserFunction) for source in data.sources):
        return apart
    firsts = first_equal([source.entries for source in data.sources])[: len(data)]
    return firsts if len(set(firsts)) >= data.rows else apart


def _held_back(distinct: Sequence[int], rows: int, wanted: int | None) -> set[int]:
    """Choose the samples that calibration does not see, in whole runs of the model."""
    runs = len(distinct) // rows
    if runs < LEAST_RUNS:
        return set()
    count = min(wanted, runs // LARGEST_PART) if wanted else min(MOST_UNSEEN, runs // PART)
    return {distinct[run * rows + row] for run in evenly_spread(runs, count) for row in range(rows)}


def _part(data: CalibrationData, numbers: Sequence[int]) -> CalibrationData:
    """Return the data of some of the samples, in the given order."""
    if list(numbers) == list(range(len(data))):
        return data
    return _chosen(data, [source.entries for source in data.sources], numbers)


def _further(data: CalibrationData) -> list[Feeds]:
    """Decode the files after the first ``calibration_step``, if they make up a run and are no copies."""
    lists = [source.beyond for source in data.sources if len(source.entries) > 1]
    counts = {len(entries) for entries in lists}
    if len(counts) != 1:
        return []
    both = [[*source.entries, *source.beyond] for source in data.sources]
    listed = max(len(source.entries) for source in data.sources)
    new = [number for number, first in enumerate(first_equal(both)) if number == first >= listed]
    whole = new[: len(new) // data.rows * data.rows]
    if not whole:
        return []
    try:
        return list(_chosen(data, both, whole).samples())
    except DataError as error:
        logger.info("files after the first calibration_step are not used: %s", error)
        return []


def _chosen(data: CalibrationData, files: Sequence[list[Entry]], numbers: Sequence[int]) -> CalibrationData:
    """Return the data of the files of these numbers; every sample uses the one file of a short list."""
    return data.of_entries([
        entries if len(entries) == 1 else [entries[number] for number in numbers] for entries in files
    ])  # fmt: skip
