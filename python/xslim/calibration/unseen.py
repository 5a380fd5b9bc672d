"""Samples that calibration does not see, so that the comparison at the end of a run does not flatter.

A range, a fit or a choice is always better on the samples that determined it. The result is therefore
compared on other ones: on files that the list names after the first ``calibration_step``, or else on an
eighth of the samples, which are held back from calibration, or a quarter if ``comparison_samples`` is given.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from xslim.calibration.data import CalibrationData
from xslim.calibration.lists import MOST_UNSEEN, Entry, evenly_spread
from xslim.calibration.sources import Source
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
        The samples for calibration.
    unseen : list of feeds
        The samples for the comparison; empty if there are too few samples.
    """

    seen: CalibrationData
    unseen: list[Feeds]


def divide(data: CalibrationData, wanted: int | None = None) -> Divided:
    """Divide calibration data into the samples for calibration and those for the comparison.

    The division depends on the numbers of the samples alone, so every shard of a distributed calibration
    makes the same one. `wanted` is the number of samples to hold back, as far as there are enough.

    Raises
    ------
    DataError
        A sample that is held back cannot be decoded.
    """
    further = _further(data)
    if further is not None:
        try:
            return Divided(data, list(data.of_entries(further).samples()))
        except DataError as error:
            logger.info("files after the first calibration_step are not used: %s", error)
    if data.runs < LEAST_RUNS:
        return Divided(data, [])
    count = min(wanted, data.runs // LARGEST_PART) if wanted else min(MOST_UNSEEN, data.runs // PART)
    chosen = {run * data.rows + row for run in evenly_spread(data.runs, count) for row in range(data.rows)}
    unseen = data.of_entries([_part(source, chosen, len(data), inside=True) for source in data.sources])
    seen = data.of_entries([_part(source, chosen, len(data), inside=False) for source in data.sources])
    return Divided(seen, list(unseen.samples()))


def _part(source: Source, chosen: set[int], count: int, *, inside: bool) -> list[Entry]:
    """Return the files of the chosen samples, or of all others."""
    if len(source.entries) == 1:
        # Every sample uses the one file of such a list.
        return source.entries
    return [source.entries[number] for number in range(count) if (number in chosen) is inside]


def _further(data: CalibrationData) -> Sequence[list[Entry]] | None:
    """Return the files after the first ``calibration_step``, or None if they do not make up a run."""
    lists = [source.beyond for source in data.sources if len(source.entries) > 1]
    counts = {len(entries) for entries in lists}
    if len(counts) != 1 or min(counts) < data.rows:
        return None
    whole = min(counts) // data.rows * data.rows
    return [source.beyond[:whole] if len(source.entries) > 1 else source.entries for source in data.sources]
