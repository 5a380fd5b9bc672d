"""The calibration pass: run the model on the samples and pass its tensors to collectors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import onnx_ir as ir

from xslim.calibration.ahead import map_ahead
from xslim.calibration.collectors import Collector
from xslim.graph.outputs import with_outputs
from xslim.runtime import Feeds, Pool, Session, blocked_session, thread_count


def stream(
    model: ir.Model,
    collectors: Sequence[Collector],
    batches: Iterable[Feeds],
    *,
    exposed: Sequence[str] = (),
    device: str = "cpu",
    workers: int | None = None,
    after_batch: Callable[[int], None] | None = None,
    in_blocks: bool = False,
) -> int:
    """Run the float model on all batches and pass every collector the tensors that it names.

    As many batches run concurrently as there are threads, each in a single thread, so results do not depend
    on the number of threads. The thread that ran a batch also passes it to the collectors, after the batches
    before, while the other threads run later ones.

    Parameters
    ----------
    model : onnx_ir.Model
        The prepared float model.
    collectors : sequence of Collector
        The collectors, which are updated batch by batch in the order of `batches`.
    batches : iterable of feeds
        Arrays by input name. A generator is closed at the end. At most one batch per thread is in memory.
    exposed : sequence of str
        Further tensors that are outputs of the session although no collector reads them. onnxruntime
        optimises the graph according to its outputs, so the last bits of all values depend on this set.
    device : str
        Device on which the model runs: ``cpu``, or one that `device_in_use` returned.
    workers : int, optional
        Largest number of concurrent batches; by default one per thread.
    after_batch : callable, optional
        Called with the number of finished batches after each one, in order, while no collector changes.
    in_blocks : bool
        Whether the collectors take tensors in blocks of channels, and the batches are many enough for the
        trial whether such tensors are fetched faster.

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
    shown = with_outputs(model, visible)
    session = Session(shown, names, device=device, threads=1)

    first, batches = _peeked(batches) if in_blocks and device == "cpu" else (None, batches)
    blocked = None if first is None else blocked_session(shown, names, session, first)

    workers = (workers or thread_count()) if device == "cpu" else 1
    others = Pool(min(max(len(collectors) - 1, 1), thread_count()), "xslim-collector")
    observation = _Observation(collectors, others, after_batch)

    def run(item: tuple[int, Feeds]) -> None:
        index, feeds = item
        try:
            arrays = dict(zip(names, (blocked or session).run(feeds), strict=True))
            observation.take(index, arrays)
        except BaseException:
            observation.end()
            raise

    done = map_ahead(run, enumerate(batches), workers, held=workers, name="xslim-calibration")
    try:
        with others:
            for _ in done:
                pass
    except BaseException as error:
        observation.end()
        _end(done, error)
        _end(batches, error)
        raise
    _end(batches)
    return observation.batches


class _Observation:
    """Passes batches to all collectors, one batch after another; a batch reaches all collectors or none.

    The collectors take a batch at the same time: if they took turns, observing would last longer than a run
    of the model, and the threads with later batches would wait.
    """

    def __init__(
        self, collectors: Sequence[Collector], others: Pool, after_batch: Callable[[int], None] | None
    ) -> None:
        self._collectors, self._others, self._after_batch = collectors, others, after_batch
        self._turn = threading.Condition()
        self._ended = False
        self.batches = 0

    def take(self, index: int, arrays: Mapping[str, Any]) -> None:
        """Pass batch number `index` to all collectors after those before it, unless the run has ended."""
        with self._turn:
            self._turn.wait_for(lambda: self._ended or self.batches == index)
            if self._ended:
                return
            self._update(arrays)
            self.batches += 1
            if self._after_batch is not None:
                self._after_batch(self.batches)
            self._turn.notify_all()

    def _update(self, arrays: Mapping[str, Any]) -> None:
        rest = self._others.map(lambda collector: collector.update(arrays), self._collectors[1:])
        for collector in self._collectors[:1]:
            collector.update(arrays)
        for _ in rest:
            pass

    def end(self) -> None:
        """Wait for the batch that the collectors are observing, and accept no further batch."""
        with self._turn:
            self._ended = True
            self._turn.notify_all()


def _peeked(batches: Iterable[Feeds]) -> tuple[Feeds | None, Iterable[Feeds]]:
    """Return the first batch, and all batches."""
    items = iter(batches)
    first = next(items, None)
    return first, items if first is None else _resumed(first, items)


def _resumed(first: Feeds, items: Iterator[Feeds]) -> Generator[Feeds, None, None]:
    try:
        yield first
        del first
        yield from items
    finally:
        if isinstance(items, Generator):
            items.close()


def _end(items: Iterable[object], error: BaseException | None = None) -> None:
    """Close a generator; after Ctrl-C it does not wait for its threads."""
    if not isinstance(items, Generator):
        return
    if isinstance(error, KeyboardInterrupt):
        with suppress(KeyboardInterrupt, StopIteration):
            items.throw(KeyboardInterrupt)
    items.close()
