"""Calibration data: list files in, batches of arrays by input name out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np

from xslim.calibration.ahead import map_ahead
from xslim.calibration.arrays import Array
from xslim.calibration.lists import Entry
from xslim.calibration.preprocess import UserFunction
from xslim.calibration.sources import Source, fits, make_sources, rows_per_run, wrong_shape
from xslim.config import CalibrationParameters
from xslim.errors import DataError
from xslim.graph.inputs import InputSpec

logger = logging.getLogger(__name__)

Batch = dict[str, Array]


class CalibrationData:
    """The calibration samples of a model.

    Parameters
    ----------
    specs : sequence of InputSpec
        The model's inputs.
    parameters : CalibrationParameters
        One entry of ``input_parameters`` for every input, and the largest number of samples.
    base_dir : Path, optional
        Folder of the config file, for relative paths.

    Attributes
    ----------
    sources : list of Source
        Which files feed which input, and how.

    Raises
    ------
    ConfigError
        The entries do not match the model's inputs.
    DataError
        A list or a file is wrong. Only what can be checked without decoding is checked here.

    Notes
    -----
    Line `n` of every list belongs to sample `n`. If a list has a single line, every sample uses that file.
    """

    def __init__(
        self, specs: Sequence[InputSpec], parameters: CalibrationParameters, base_dir: Path | None = None
    ) -> None:
        self._adopt(make_sources(specs, parameters, base_dir))

    def _adopt(self, sources: list[Source]) -> None:
        self.sources = sources
        listed = _common_length(self.sources)
        self._rows = _rows_of_all(self.sources)
        if self._rows > listed:
            raise DataError(
                f"the model's batch is {self._rows} but there are only {listed} samples",
                hint="give more samples",
            )
        self._left_out = listed % self._rows
        self._length = listed - self._left_out
        self._explained = False

    def of_entries(self, entries: Sequence[list[Entry]]) -> CalibrationData:
        """Return the data of other files, one list for every source, which are decoded in the same way."""
        other = copy(self)
        pairs = zip(self.sources, entries, strict=True)
        other._adopt([replace(source, entries=files) for source, files in pairs])
        return other

    def __len__(self) -> int:
        """Return the number of samples that are used; a fixed batch may leave some of the last ones out."""
        return self._length

    @property
    def rows(self) -> int:
        """Samples in one run of the model: more than 1 only if a fixed batch is filled from several files."""
        return self._rows

    @property
    def runs(self) -> int:
        """Number of runs of the model in one pass: the number of items of `samples`, the unit of shards."""
        return self._length // self._rows

    def batches(
        self, batch_size: int = 1, workers: int = 1, shard: tuple[int, int] = (0, 1)
    ) -> Generator[Batch, None, None]:
        """Yield batches of decoded samples; the next batches are decoded while the caller uses one.

        Parameters
        ----------
        batch_size : int
            Samples per batch, if the leading dimension of every input is symbolic. A model with a fixed
            batch gets batches of its own fixed size instead.
        workers : int
            Decoding threads; 0 decodes in the caller's thread. The result does not depend on it.
        shard : pair of int
            ``(index, count)``: only every `count`-th sample, beginning with number `index`, is decoded.
            With a fixed batch, runs of the model are counted instead of samples.

        Yields
        ------
        dict of str to array
            Contiguous arrays in the type of the input. The last batch may be smaller. Samples whose shapes
            differ are not batched: each is yielded alone.

        Raises
        ------
        DataError
            A file cannot be decoded, has the wrong shape, or holds NaN or infinite values.
        """
        for feeds in self._loaded(self._load, batch_size, workers, shard):
            yield from feeds

    def samples(
        self, batch_size: int = 1, workers: int = 1, shard: tuple[int, int] = (0, 1)
    ) -> Generator[Batch, None, None]:
        """Decode the samples as `batches` does, but yield them one by one.

        The last bits of a float model's results depend on the batch size of a run. Single samples therefore
        give the same values for every `batch_size`, which changes neither the items nor their order. A model
        with a fixed batch still gets whole batches.
        """
        for feeds in self._loaded(self._load_apart, batch_size, workers, shard):
            yield from feeds

    def _loaded(
        self,
        load: Callable[[range], list[Batch]],
        batch_size: int,
        workers: int,
        shard: tuple[int, int],
    ) -> Iterator[list[Batch]]:
        if any(isinstance(source.reader, UserFunction) for source in self.sources):
            # A user's function may not be thread-safe, and its results may depend on the order of the calls.
            workers = min(workers, 1)
        return map_ahead(load, self._groups(batch_size, shard), workers)

    def _groups(self, batch_size: int, shard: tuple[int, int]) -> Iterator[range]:
        free = all(source.is_free for source in self.sources)
        if not self._explained:
            self._explained = True
            self._explain(free, batch_size)
        chosen = range(0, self._length, self._rows)[shard[0] :: shard[1]]
        if self._rows > 1:
            return (range(start, start + self._rows) for start in chosen)
        size = batch_size if free else 1
        return (chosen[start : start + size] for start in range(0, len(chosen), size))

    def _explain(self, free: bool, batch_size: int) -> None:
        """Log the effects of a fixed batch."""
        if self._left_out:
            logger.warning(
                "the model's batch is %d: the last %d of %d samples are left out",
                self._rows, self._left_out, self._length + self._left_out,
            )  # fmt: skip
        if self._rows == 1 and batch_size > 1 and not free:
            logger.info("the model's batch is fixed: samples run one by one")

    def _load(self, group: range) -> list[Batch]:
        """Decode a group of samples into one batch, or into one batch per sample if their shapes differ."""
        columns = {source.name: _load_input(source, group) for source in self.sources}
        if all(column is not None for column in columns.values()):
            return [{name: column for name, column in columns.items() if column is not None}]
        return [feeds for index in group for feeds in self._load(range(index, index + 1))]

    def _load_apart(self, group: range) -> list[Batch]:
        """Decode a group of samples and return them one by one; a fixed batch stays whole."""
        loaded = self._load(group)
        parts = len(group)
        whole = self._rows > 1 or len(loaded) > 1 or parts == 1
        if whole or any(values.shape[0] % parts for values in loaded[0].values()):
            return loaded
        split = {name: np.split(values, parts) for name, values in loaded[0].items()}
        return [{name: rows[index] for name, rows in split.items()} for index in range(parts)]


def _common_length(sources: Sequence[Source]) -> int:
    longest = max(sources, key=lambda source: len(source.entries))
    for source in sources:
        if len(source.entries) not in (1, len(longest.entries)):
            last = source.entries[-1].where
            raise DataError(
                f"the list of input {source.name} ends after {len(source.entries)} files, "
                f"the list of {longest.name} has {len(longest.entries)}",
                where=last,
                hint="lists are zipped by line; only a list of one line may be shorter",
            )
    return len(longest.entries)


def _rows_of_all(sources: Sequence[Source]) -> int:
    """Return the number of samples in one run: that of the fixed batch, or 1 for other models."""
    rows = {source.name: rows_per_run(source) for source in sources}
    wanted = max(rows.values())
    longest = max(len(source.entries) for source in sources)
    for source in sources:
        shared = len(source.entries) == 1 and longest > 1
        if wanted > 1 and rows[source.name] != wanted and not shared and not source.is_free:
            raise DataError(
                f"one run takes {wanted} files for some inputs but {rows[source.name]} for {source.name}",
                hint="save the files of all inputs with the same number of samples"
                if source.shape
                else "give this input a list of one line",
            )
    return wanted


def _load_input(source: Source, group: range) -> Array | None:
    """Return the batch of one input, or None if the samples have different shapes."""
    shared = len(source.entries) == 1
    entries = [source.entries[0 if shared else index] for index in group]
    if isinstance(source.reader, UserFunction):
        return _call(source, source.reader, entries)
    if shared:
        value = _decode(source, entries[0])
        repeats = len(group) if source.is_free or rows_per_run(source) > 1 else 1
        return np.concatenate([value] * repeats) if repeats > 1 else value
    values = [_decode(source, entry) for entry in entries]
    if len(values) == 1:
        return values[0]
    if len({value.shape for value in values}) > 1:
        return None
    return np.concatenate(values)


def _decode(source: Source, entry: Entry) -> Array:
    assert not isinstance(source.reader, UserFunction)
    values = source.reader.decode(entry)
    shape = source.batched(values.shape)
    if shape is None:
        raise wrong_shape(source, values.shape, entry.where)
    return values.reshape(shape)


def _call(source: Source, function: UserFunction, entries: Sequence[Entry]) -> Array:
    values = function(entries)
    expected = source.shape
    if expected == () and values.size == 1:
        return values.reshape(())
    if expected is not None:
        expected = (expected[0] or len(entries), *expected[1:]) if expected else ()
        if not fits(values.shape, expected):
            raise wrong_shape(source, values.shape, f"{function.name} for {entries[0].where}")
    return values
