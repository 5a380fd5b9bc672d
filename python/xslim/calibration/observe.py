"""Run the float model on the samples and sketch its tensors.

All tensors are observed in one pass if memory allows, and stored sketches of the same samples are used again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import onnx_ir as ir

from xslim.calibration.budget import MEGABYTE, default_budget_mb, group_tensors, output_bytes
from xslim.calibration.collectors import Collector, SketchCollector
from xslim.calibration.data import CalibrationData
from xslim.calibration.fingerprint import calibration_key
from xslim.calibration.runner import stream
from xslim.calibration.store import StoredSketches, load_sketches, save_sketches
from xslim.errors import DataError
from xslim.kernels import Sketch
from xslim.progress import timed
from xslim.runtime import Feeds, give_back, thread_count

logger = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 30.0
FEW_THREADS = 4
"""With at most this many threads, the concurrent batches keep every core busy, so one thread alone observes a
batch. With more threads, all of them observe it together: batches are observed one after another, and one
thread would be too slow."""
MANY_FOR_BLOCKS = 32
"""With fewer runs, it is not worth to try whether tensors in blocks of channels are fetched faster."""
EARLY_SHARE = 0.75
"""The extremes of every tensor are recorded after this share of the samples."""

LEAST_WORKERS = 2
"""Number of concurrent batches for which the budget must suffice. If it had to suffice for more, the tensors
would be divided into more groups, and each group costs a whole pass over the samples."""

Track = Callable[[Iterable[Feeds], int, int], Iterable[Feeds]]


def _silently(samples: Iterable[Feeds], total: int, rows: int) -> Iterable[Feeds]:
    del total, rows
    return samples


@dataclass(frozen=True)
class Settings:
    """How the model runs on the samples, and where the sketches are kept.

    Attributes
    ----------
    batch_size : int
        Number of samples that are decoded together; the model still runs on one sample at a time.
    device : str
        Device on which the model runs: ``cpu``, or one that `device_in_use` returned.
    memory_mb : int or None
        Budget for the observed outputs of all concurrent batches, in MiB; None means a quarter of the
        machine's memory.
    store : Path or None
        File that keeps the sketches for later runs.
    shard : pair of int
        The part of the samples to observe, ``(index, count)`` with the index from 0.
    track : callable
        Shows progress: takes the samples, the number of runs and the number of samples in each run, and
        yields the samples again.
    masks : frozenset of str
        Tensors in which an earlier pass found infinities; stored beside the sketches.
    """

    batch_size: int = 1
    device: str = "cpu"
    memory_mb: int | None = None
    store: Path | None = None
    shard: tuple[int, int] = (0, 1)
    track: Track = _silently
    masks: frozenset[str] = frozenset()


def observe(
    model: ir.Model,
    tensors: Sequence[str],
    data: CalibrationData,
    settings: Settings,
    also: Sequence[Collector] = (),
    exposed: Sequence[str] = (),
) -> StoredSketches:
    """Sketch every tensor over all samples of a shard.

    If ``settings.store`` holds sketches of the same model and samples, these are returned and the model does
    not run for them. A checkpoint in ``settings.store`` is continued.

    Parameters
    ----------
    model : onnx_ir.Model
        The prepared float model.
    tensors : sequence of str
        The tensors to observe.
    data : CalibrationData
        The samples.
    settings : Settings
        How the model runs on them.
    also : sequence of Collector
        Further collectors that see all samples in the first pass. They see them even if stored sketches are
        returned.
    exposed : sequence of str
        Tensors that `also` reads, in this run or in another run with the same store. They are outputs of the
        first pass in every run, because the last bits of a session's values depend on its outputs.

    Raises
    ------
    DataError
        A sample cannot be decoded, or the shard is empty.
    """
    key = calibration_key(model, tensors, data)
    stored = _stored(key, tensors, settings)
    if stored is not None and stored.complete:
        logger.info("the sketches of an earlier run fit: %s", settings.store)
        watch(model, tensors, data, settings, also, exposed)
        return stored
    passes = _passes(model, tensors, data, settings)
    state = _Progress(key, tensors, settings, passes, _continued(stored, passes, settings))
    others, visible = also, exposed
    for group in passes.groups:
        state.run(model, group, data, others, visible)
        others, visible = (), ()
    state.save(complete=True)
    return state.snapshot(complete=True)


def watch(
    model: ir.Model,
    tensors: Sequence[str],
    data: CalibrationData,
    settings: Settings,
    collectors: Sequence[Collector],
    exposed: Sequence[str] = (),
) -> None:
    """Run the model for collectors only; they see the same values, to the last bit, as `also` in `observe`.

    Parameters and errors are those of `observe`.
    """
    if any(collector.tensors for collector in collectors):
        passes = _passes(model, tensors, data, settings)
        visible = [*passes.groups[0], *exposed]
        _pass(model, collectors, data, settings, workers=passes.workers, exposed=visible)


@dataclass(frozen=True)
class _Passes:
    """The groups of tensors, one per pass, and the number of concurrent batches."""

    groups: list[list[str]]
    workers: int

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(map(len, self.groups))


class _Progress:
    """The sketches of a run that is in progress, and its checkpoints."""

    def __init__(
        self,
        key: str,
        tensors: Sequence[str],
        settings: Settings,
        passes: _Passes,
        stored: StoredSketches | None,
    ) -> None:
        self._key = key
        self._settings = settings
        self._passes = passes
        self._sketches = stored.sketches if stored else {name: Sketch() for name in tensors}
        self._batches = dict(stored.batches) if stored else dict.fromkeys(tensors, 0)
        self._early = dict(stored.early) if stored else {}
        self._saved = time.monotonic()

    def run(
        self,
        model: ir.Model,
        group: Sequence[str],
        data: CalibrationData,
        others: Sequence[Collector],
        exposed: Sequence[str],
    ) -> None:
        """Observe one group of tensors, starting after the batches of a checkpoint."""
        seen = min((self._batches[name] for name in group), default=0)
        again = any(collector.tensors for collector in others)
        observer = SketchCollector(
            {name: self._sketches[name] for name in group},
            skip=seen if again else 0,
            parallel=self._settings.device != "cpu" or thread_count() > FEW_THREADS,
        )
        offset = 0 if again else seen
        early = _early_runs(data.runs, self._settings)

        def checkpoint(_: int) -> None:
            self._batches.update(dict.fromkeys(group, observer.batches + offset))
            if observer.batches + offset == early:
                self._note_extremes(group)
            if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
                self.save(complete=False)

        try:
            _pass(
                model,
                [observer, *others],
                data,
                self._settings,
                workers=self._passes.workers,
                exposed=[*group, *exposed],
                skip=offset,
                after_batch=checkpoint,
            )
        except KeyboardInterrupt:
            self.save(complete=False)
            raise

    def _note_extremes(self, group: Sequence[str]) -> None:
        for name in group:
            sketch = self._sketches[name]
            if not sketch.is_empty:
                self._early[name] = (sketch.min, sketch.max)

    def snapshot(self, *, complete: bool) -> StoredSketches:
        """Return the current state of the sketches."""
        return StoredSketches(
            self._key,
            self._settings.shard,
            self._settings.batch_size,
            dict(self._batches),
            complete,
            self._sketches,
            dict(self._early),
            self._passes.sizes,
            tuple(sorted(self._settings.masks)),
        )

    def save(self, *, complete: bool) -> None:
        """Write the current state of the sketches to the store, if there is one."""
        if self._settings.store is not None:
            save_sketches(self._settings.store, self.snapshot(complete=complete))
            self._saved = time.monotonic()


def _early_runs(runs: int, settings: Settings) -> int:
    """Three quarters of the runs of a shard, at least one."""
    index, count = settings.shard
    return max(1, int(EARLY_SHARE * len(range(index, runs, count))))


def _pass(
    model: ir.Model,
    collectors: Sequence[Collector],
    data: CalibrationData,
    settings: Settings,
    *,
    workers: int,
    exposed: Sequence[str],
    skip: int = 0,
    after_batch: Callable[[int], None] | None = None,
) -> None:
    samples = data.samples(settings.batch_size, workers=thread_count(), shard=settings.shard)
    tracked = settings.track(
        samples, len(range(data.runs)[settings.shard[0] :: settings.shard[1]]), data.rows
    )
    shown = _shown(samples, tracked, skip)
    with timed("calibration pass"):
        count = stream(
            model,
            collectors,
            shown,
            exposed=exposed,
            device=settings.device,
            workers=workers,
            after_batch=after_batch,
            in_blocks=data.runs >= MANY_FOR_BLOCKS,
        )
    give_back()
    if count + skip == 0:
        index, total = settings.shard
        raise DataError(f"shard {index + 1} of {total} holds no sample", hint="make fewer shards")


def _shown(
    samples: Generator[Feeds, None, None], tracked: Iterable[Feeds], skip: int
) -> Generator[Feeds, None, None]:
    """Yield the samples and show progress; closing this generator closes `samples` at once."""
    with closing(samples):
        yield from islice(tracked, skip, None)


def _stored(key: str, tensors: Sequence[str], settings: Settings) -> StoredSketches | None:
    """Return the sketches or the checkpoint that the store holds for this run, or None."""
    path = settings.store
    if path is None or not path.exists():
        return None
    stored = load_sketches(path)
    if stored is None:
        return None
    if (stored.key, stored.shard, list(stored.batches)) != (key, settings.shard, list(tensors)):
        logger.debug("%s belongs to another model, other samples or another shard", path)
        return None
    return stored


def _continued(stored: StoredSketches | None, passes: _Passes, settings: Settings) -> StoredSketches | None:
    """Return the checkpoint if its groups of tensors are the same; with others the values would differ."""
    if stored is None:
        return None
    if stored.groups != passes.sizes:
        logger.info("%s was made with another memory: calibration begins anew", settings.store)
        return None
    logger.info("continuing the calibration that %s has kept", settings.store)
    return stored


def _passes(model: ir.Model, tensors: Sequence[str], data: CalibrationData, settings: Settings) -> _Passes:
    """Divide the tensors into groups so that the concurrent batches stay within the budget.

    The last bits of a tensor depend on its group, so the groups must not depend on the number of threads.
    If memory is short, fewer batches run concurrently.
    """
    first = next(data.samples(settings.batch_size, workers=0, shard=settings.shard), None)
    if first is None:
        return _Passes([list(tensors)], 1)
    sizes = output_bytes(model, tensors, first)
    budget = (settings.memory_mb or default_budget_mb()) * MEGABYTE
    groups = group_tensors(sizes, budget // LEAST_WORKERS) or [[]]
    if len(groups) > 1:
        logger.info(
            "one batch of all observed tensors takes %d MB: they are observed in %d passes",
            sum(sizes.values()) // MEGABYTE,
            len(groups),
        )
    largest = max(sum(sizes[name] for name in group) for group in groups)
    return _Passes(groups, max(1, min(thread_count(), budget // max(largest, 1))))
