"""From samples to sketches: in one pass where memory allows, never twice for the same samples."""

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
from xslim.runtime import Feeds, thread_count

logger = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 30.0
FEW_THREADS = 4
"""Up to so many, the batches under way keep every core busy: each is observed by its own thread alone. With
more, observing one batch after another would hold up the rest."""
EARLY_SHARE = 0.75
"""Share of the samples after which the extremes are noted."""

LEAST_WORKERS = 2
"""Batches that may be under way in the smallest budget. More would only make more passes of as many runs."""

Track = Callable[[Iterable[Feeds], int, int], Iterable[Feeds]]


def _silently(samples: Iterable[Feeds], total: int, rows: int) -> Iterable[Feeds]:
    del total, rows
    return samples


@dataclass(frozen=True)
class Settings:
    """How samples are run.

    Attributes
    ----------
    batch_size : int
        Samples that are decoded together; the model runs one by one.
    device : {"cpu", "cuda"}
        Where the model runs.
    memory_mb : int or None
        Budget of the observed outputs of all batches under way; None means a quarter of the machine.
    store : Path or None
        File that keeps the sketches for later runs.
    shard : pair of int
        Which part of the samples to see, ``(index, count)`` with the index from 0.
    track : callable
        Wraps the runs of the model, given their number and the samples of each, to show progress.
    masks : frozenset of str
        Tensors that hold infinities, as an earlier pass has found; noted beside the sketches.
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

    Sketches that ``settings.store`` holds for the same model and samples are used instead of running the
    model; a checkpoint there is continued.

    Parameters
    ----------
    model : onnx_ir.Model
        The prepared float model.
    tensors : sequence of str
        What to observe.
    data : CalibrationData
        The samples.
    settings : Settings
        How they are run.
    also : sequence of Collector
        Others that see all samples in the same pass; they run even where the sketches are known.
    exposed : sequence of str
        What `also` reads in this run, or in another one on the same sketches: both see the same values.

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
    """Show collectors exactly the values that they would see beside `observe`, without sketching.

    Parameters and errors are those of `observe`.
    """
    if any(collector.tensors for collector in collectors):
        passes = _passes(model, tensors, data, settings)
        visible = [*passes.groups[0], *exposed]
        _pass(model, collectors, data, settings, workers=passes.workers, exposed=visible)


@dataclass(frozen=True)
class _Passes:
    """Which tensors are observed together, and how many batches may be under way."""

    groups: list[list[str]]
    workers: int

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(map(len, self.groups))


class _Progress:
    """The sketches of a run while it is under way, with their checkpoints."""

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
        """Observe one group of tensors, from where a checkpoint left it."""
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
        """Return what is known now."""
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
        """Write what is known now to the store, if there is one."""
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
    count = stream(
        model,
        collectors,
        shown,
        exposed=exposed,
        device=settings.device,
        workers=workers,
        after_batch=after_batch,
    )
    if count + skip == 0:
        index, total = settings.shard
        raise DataError(f"shard {index + 1} of {total} holds no sample", hint="make fewer shards")


def _shown(
    samples: Generator[Feeds, None, None], tracked: Iterable[Feeds], skip: int
) -> Generator[Feeds, None, None]:
    """The samples with their progress shown; they end with this generator, whatever holds on to them."""
    with closing(samples):
        yield from islice(tracked, skip, None)


def _stored(key: str, tensors: Sequence[str], settings: Settings) -> StoredSketches | None:
    """Return what the store holds for this run, a checkpoint included."""
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
    """Return the checkpoint, if a run like this one made it; from others the values would differ."""
    if stored is None:
        return None
    if stored.groups != passes.sizes:
        logger.info("%s was made with another memory: calibration begins anew", settings.store)
        return None
    logger.info("continuing the calibration that %s has kept", settings.store)
    return stored


def _passes(model: ir.Model, tensors: Sequence[str], data: CalibrationData, settings: Settings) -> _Passes:
    """Divide the tensors so that batches under way stay within the budget.

    What is observed together decides the last bits of its values, so the threads of this machine must not
    decide about it: they are what gives way.
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
