"""The samples of ``xslim compare --labels``, each with its class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import onnx_ir as ir

from xslim.calibration.data import CalibrationData
from xslim.calibration.lists import Entry, check_files, evenly_spread
from xslim.commands.compared_samples import guessed, samples_to_compare, up_to
from xslim.commands.labels import Labels, labels_of
from xslim.config import CalibrationParameters, load_config
from xslim.errors import DataError
from xslim.files import refuse_inputs
from xslim.graph.inputs import input_specs
from xslim.pipeline.protect import calibration_files
from xslim.runtime import Feeds, Runs

NO_LIMIT = 10**9


def labelled_samples(
    model: ir.Model,
    session: Runs,
    data: Path | CalibrationParameters | None,
    count: int | None,
    labels: Labels,
) -> Iterator[tuple[Feeds, tuple[int, ...] | None]]:
    """Yield the samples of one run of the model at a time, with their classes.

    The classes are None if the labels are numbers in the order of the samples: only the outputs tell how many
    samples a run has. Labels that name files decide what the samples are: without data these files as
    ``xslim init`` would read them, with a configuration the files as it reads them. Every sample of a list or
    folder must have a label.

    Raises
    ------
    DataError
        A sample has no label, or the data are wrong.
    """
    if not labels.files:
        if data is None:
            raise DataError("labels in the order of the samples need samples", hint="give --data")
        limit = NO_LIMIT if count is None else count
        yield from ((feeds, None) for feeds in samples_to_compare(model, session, data, limit))
        return
    with ExitStack() as stack:
        samples, numbers = _of_files(model, data, count, labels, stack)
        for index, feeds in enumerate(samples.batches(1)):
            yield feeds, tuple(numbers[index * samples.rows : (index + 1) * samples.rows])


def _of_files(
    model: ir.Model,
    data: Path | CalibrationParameters | None,
    count: int | None,
    labels: Labels,
    stack: ExitStack,
) -> tuple[CalibrationData, list[int]]:
    """Return the samples, at most `count` evenly spread ones, and their classes."""
    if isinstance(data, CalibrationParameters) or (data is not None and data.suffix == ".npz"):
        raise DataError(
            "the labels name files, but the samples have no names",
            where=labels.place,
            hint="give one class number for each sample, in their order",
        )
    if data is not None and data.suffix == ".json":
        config = load_config(data)
        refuse_inputs([], calibration_files(config))
        parameters: CalibrationParameters = config.calibration_parameters
        samples = CalibrationData(input_specs(model), up_to(parameters, NO_LIMIT), config.base_dir)
        if len(samples.sources) == 1:
            chosen = _spread(labels.files, count)
            check_files(chosen)
            numbers = dict(zip(labels.files, labels.numbers, strict=True))
            return samples.of_entries([chosen]), [numbers[entry] for entry in chosen]
    else:
        files = [entry.path for entry in labels.files]
        parameters = stack.enter_context(guessed(model, files if data is None else data))
        samples = CalibrationData(input_specs(model), up_to(parameters, NO_LIMIT))
    return _matched(samples, count, labels)


def _spread(items: Sequence[Any], count: int | None) -> list[Any]:
    """Return at most `count` evenly spread items: a list is often sorted by class."""
    return list(items) if count is None else [items[at] for at in evenly_spread(len(items), count)]


def _matched(
    samples: CalibrationData, count: int | None, labels: Labels
) -> tuple[CalibrationData, list[int]]:
    """Match labels with the files of the input that they name most often."""
    listed = max(len(source.entries) for source in samples.sources)
    places = _spread(range(listed), count)
    chosen: list[list[Entry]] = [
        source.entries if len(source.entries) == 1 else [source.entries[place] for place in places]
        for source in samples.sources
    ]
    names = [entries for entries in chosen if len(entries) == len(places)]
    found = [labels_of(labels, [entry.path for entry in entries]) for entries in names]
    best = max(range(len(found)), key=lambda index: sum(label is not None for label in found[index]))
    numbers = [label for label in found[best] if label is not None]
    if len(numbers) < len(places):
        missing = names[best][found[best].index(None)]
        without = len(places) - len(numbers)
        raise DataError(
            f"no label for the sample {missing.path} ({without} of {len(places)} have none)",
            where=labels.place,
            hint="paths of a list are relative to it; the files of a folder of labels are below that folder",
        )
    return samples.of_entries(chosen), numbers
