"""The calibration pass: samples stream through onnxruntime into collectors, and nothing is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager

import onnx_ir as ir

from xslim.calibration.collectors import Collector
from xslim.graph.outputs import with_outputs
from xslim.runtime import Feeds, Pool, Session, thread_count

SOON = 0.5
"""Seconds that an interrupted run waits for the sample under way."""


def stream(
    model: ir.Model,
    collectors: Sequence[Collector],
    batches: Iterable[Feeds],
    *,
    exposed: Sequence[str] = (),
    device: str = "cpu",
    workers: int | None = None,
    after_batch: Callable[[int], None] | None = None,
) -> int:
    """Run the float model once over all batches and show every collector the tensors it names.

    As many batches are under way as there are threads, each computed by one thread from end to end: a
    batch runs while the one before it is observed, and results do not depend on the number of threads.

    Parameters
    ----------
    model : onnx_ir.Model
        The prepared float model.
    collectors : sequence of Collector
        They are updated batch by batch, in the order of `batches`.
    batches : iterable of feeds
        Arrays by input name; a generator is closed at the end. Never more than one batch per thread is held.
    exposed : sequence of str
        Tensors that the session shows although no collector reads them. onnxruntime optimises around
        outputs, so the last bits of all values depend on this set.
    device : {"cpu", "cuda"}
        Where the model runs.
    workers : int, optional
        Batches that may be under way at most; by default one in each thread.
    after_batch : callable, optional
        Called with the number of finished batches after each one, in order, while no collector changes.

    Returns
    -------
    int
        Number of batches.

    Raises
    ------
    ModelError
        onnxruntime cannot run the model on a batch.
    """
    names = list(dict.fromkeys(name for collector in collectors for name in collector.tensors))
    visible = list(dict.fromkeys([*exposed, *names]))
    session = Session(with_outputs(model, visible), names, device=device, threads=1)
    queue, turns = _Numbered(batches), _Turns()

    def work() -> None:
        try:
            for index, feeds in queue:
                arrays = dict(zip(names, session.run(feeds), strict=True))
                with turns.of(index) as ours:
                    if not ours:
                        return
                    for collector in collectors:
                        collector.update(arrays)
                    if after_batch is not None:
                        after_batch(index + 1)
        except BaseException:
            turns.abandon()
            raise

    workers = (workers or thread_count()) if device == "cpu" else 1
    with Pool(workers, "xslim-calibration") as pool:
        futures = [pool.submit(work) for _ in range(workers)]
        try:
            for future in futures:
                future.result()
        except KeyboardInterrupt:
            turns.abandon()
            turns.wait_for_present()
            queue.close(SOON)
            raise
        except BaseException:
            turns.abandon()
            queue.close()
            raise
        queue.close()
    return turns.finished


class _Numbered:
    """An iterator that several threads may share; it numbers what it hands out."""

    def __init__(self, items: Iterable[Feeds]) -> None:
        self._items = iter(items)
        self._count = 0
        self._lock = threading.Lock()
        self._closed = False

    def __iter__(self) -> Iterator[tuple[int, Feeds]]:
        return self

    def __next__(self) -> tuple[int, Feeds]:
        with self._lock:
            if self._closed:
                raise StopIteration
            item = next(self._items)
            self._count += 1
            return self._count - 1, item

    def close(self, patience: float = -1) -> None:
        """Hand out nothing more, and end a generator here.

        Left to the garbage collector, one of the generator's own threads might have to wait for itself. That
        is still better than to wait longer than `patience` seconds for an item that never comes.
        """
        self._closed = True
        if not self._lock.acquire(timeout=patience):
            return
        try:
            if isinstance(self._items, Generator):
                self._items.close()
        finally:
            self._lock.release()


class _Turns:
    """Lets threads do one thing after another in the order of their batches."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._abandoned = False
        self._busy = False
        self.finished = 0

    @contextmanager
    def of(self, index: int) -> Iterator[bool]:
        """Wait until all batches before `index` are done; False when the run was abandoned instead."""
        with self._condition:
            self._condition.wait_for(lambda: self.finished == index or self._abandoned)
            ours = not self._abandoned
            self._busy = self._busy or ours
        try:
            yield ours
        except BaseException:
            self.abandon()
            raise
        else:
            self.finished += ours
        finally:
            if ours:
                with self._condition:
                    self._busy = False
                    self._condition.notify_all()

    def abandon(self) -> None:
        """Wake every waiting thread; no further turn is given."""
        with self._condition:
            self._abandoned = True
            self._condition.notify_all()

    def wait_for_present(self) -> None:
        """Wait until no turn is under way."""
        with self._condition:
            self._condition.wait_for(lambda: not self._busy)
