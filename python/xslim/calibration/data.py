"""Calibration data: list files in, batches of arrays by input name out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
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
        A list or a file is wrong; found here as far as that is possible without decoding.

    Notes
    -----
    Lists are zipped by line. A list of one line among longer ones serves every sample.
    """

    def __init__(
        self, specs: Sequence[InputSpec], parameters: CalibrationParameters, base_dir: Path | None = None
    ) -> None:
        self.sources = make_sources(specs, parameters, base_dir)
        listed = _common_length(self.sources)
        self._rows = _rows_of_all(self.sources)
        if self._rows > listed:
            raise DataError(
                f"the model's batch is {self._rows} but there are only {listed} samples",
                hint="list more files",
            )
        self._left_out = listed % self._rows
        self._length = listed - self._left_out
        self._explained = False

    def __len__(self) -> int:
        """Return the number of samples that are used: a model with a fixed batch may leave out the last."""
        return self._length

    @property
    def rows(self) -> int:
        """Samples of one run of the model: 1, unless its batch is fixed and the files hold parts of it."""
        return self._rows

    @property
    def runs(self) -> int:
        """How often the model runs in one pass: the number of items of `samples`, and what shards count."""
        return self._length // self._rows

    def batches(
        self, batch_size: int = 1, workers: int = 1, shard: tuple[int, int] = (0, 1)
    ) -> Generator[Batch, None, None]:
        """Decode the samples, ahead of the caller.

        Parameters
        ----------
        batch_size : int
            Samples per batch, where every input has a symbolic leading dimension. A model with a fixed
            batch gets exactly that many.
        workers : int
            Decoding threads; 0 decodes in the caller's thread. The result does not depend on it.
        shard : pair of int
            ``(index, count)``: only every `count`-th sample, beginning with number `index`, is decoded.
            With a fixed batch, runs of the model are counted instead of samples.

        Yields
        ------
        dict of str to array
            Contiguous, in the type of the input. The last batch may be smaller; samples whose shapes differ
            come alone.

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
        """Decode the samples as `batches` does, but hand them out one by one.

        The last bits of a float model depend on the size of its batch; run one by one, samples give the same
        values whatever `batch_size`. A model with a fixed batch still gets whole ones. Neither what comes nor
        its order depends on `batch_size`.
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
            # A user's function need not be safe in threads, and may count its calls.
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
        """Say once what a fixed batch changes."""
        if self._left_out:
            logger.warning(
                "the model's batch is %d: the last %d of %d samples are left out",
                self._rows, self._left_out, self._length + self._left_out,
            )  # fmt: skip
        if self._rows == 1 and batch_size > 1 and not free:
            logger.info("the model's batch is fixed: samples run one by one")

    def _load(self, group: range) -> list[Batch]:
        """Decode one batch; several when the shapes of its samples differ."""
        columns = {source.name: _load_input(source, group) for source in self.sources}
        if all(column is not None for column in columns.values()):
            return [{name: column for name, column in columns.items() if column is not None}]
        return [feeds for index in group for feeds in self._load(range(index, index + 1))]

    def _load_apart(self, group: range) -> list[Batch]:
        """Decode one batch and take it apart again, unless the model wants it whole."""
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
    """Return how many samples make one run of a model with a fixed batch; 1 for all others."""
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
    """Return the batch of one input, or None when its samples have different shapes."""
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
