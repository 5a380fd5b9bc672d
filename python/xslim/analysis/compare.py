"""Run the float and the quantised model on the same samples and compare every tensor as it is computed."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim import kernels
from xslim.analysis.local import LocalModel, with_local_copies
from xslim.analysis.seen import is_class_vector
from xslim.errors import InternalError
from xslim.graph.outputs import values_by_name, with_outputs
from xslim.progress import tracked
from xslim.runtime import (
    ColumnErrors,
    Feeds,
    Pool,
    Session,
    give_back,
    is_lean_for_few_runs,
    thread_count,
)

Arrays = Mapping[str, NDArray[np.generic]]

MEMORY_BYTES = 512 << 20
"""Target for the size of all arrays in memory at a time. To stay below it, fewer samples run concurrently; if
that is not enough, the tensors are compared in several rounds."""
ELEMENT_BYTES = 4 + 1 + 1
"""Bytes in memory at a time for each element of a tensor: float, and the integers accumulated and local."""


@dataclass
class Comparison:
    """The sums of the comparison over all samples, by tensor name.

    Attributes
    ----------
    accumulated, local : dict of str to ErrorMetrics
        Of the int8 activations; see `xslim.analysis.report.TensorReport`.
    outputs : dict of str to ErrorMetrics
        Of the model's floating-point outputs.
    columns : dict of str to ColumnErrors
        Of the same outputs, along their axes.
    sketches : dict of str to Sketch
        Of the tensors in `sketched`.
    peaks : dict of str to array
        Largest magnitude per channel of the tensors in `channel_axes`.
    vectors : list of dict of str to (float, quantised)
        For each sample the outputs that are vectors of classes, in the order of the samples.
    """

    accumulated: dict[str, kernels.ErrorMetrics] = field(default_factory=dict)
    local: dict[str, kernels.ErrorMetrics] = field(default_factory=dict)
    outputs: dict[str, kernels.ErrorMetrics] = field(default_factory=dict)
    columns: dict[str, ColumnErrors] = field(default_factory=dict)
    sketches: dict[str, kernels.Sketch] = field(default_factory=dict)
    peaks: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    vectors: list[dict[str, tuple[NDArray[np.generic], NDArray[np.generic]]]] = field(default_factory=list)

    def add(self, other: Comparison) -> None:
        """Add the sums of further samples; the order of the calls affects the last bits."""
        for mine, theirs in (
            (self.accumulated, other.accumulated),
            (self.local, other.local),
            (self.outputs, other.outputs),
        ):
            for name, metrics in theirs.items():
                mine.setdefault(name, kernels.ErrorMetrics()).merge(metrics)
        for name, columns in other.columns.items():
            self.columns.setdefault(name, ColumnErrors()).merge(columns)
        for name, sketch in other.sketches.items():
            self.sketches.setdefault(name, kernels.Sketch()).merge(sketch)
        for name, peaks in other.peaks.items():
            self.peaks[name] = np.maximum(self.peaks[name], peaks) if name in self.peaks else peaks
        self.vectors += other.vectors


def compare(
    reference: ir.Model,
    exported: ir.Model,
    tensors: Sequence[str],
    int8_operators: Collection[str],
    samples: Sequence[Feeds],
    *,
    detailed: int | None = None,
    sketched: Collection[str] = (),
    channel_axes: Mapping[str, int] | None = None,
    memory_bytes: int = MEMORY_BYTES,
) -> Comparison:
    """Run both models and compare them.

    Results do not depend on the number of threads: each sample runs in one thread, and sums are added in
    the order of the samples.

    Parameters
    ----------
    reference : onnx_ir.Model
        The float model; its tensors have the same names as those of the exported model.
    exported : onnx_ir.Model
        The QDQ model.
    tensors : sequence of str
        The int8 activations of the exported model.
    int8_operators : collection of str
        Names of the int8 operators of the exported model.
    samples : sequence of feeds
        At least one.
    detailed : int, optional
        Number of the first samples on which the tensors are compared, at least one; by default all. On the
        others, only the outputs of both models are compared, which takes a third of the time.
    sketched : collection of str
        The members of `tensors` whose float values are sketched.
    channel_axes : mapping of str to int
        The members of `tensors` whose largest magnitude per channel is computed, with their channel axis.
    memory_bytes : int
        Target for the size of all arrays in memory at a time.

    Raises
    ------
    InternalError
        One of the models does not run.
    """
    if not samples:
        raise InternalError("there is no sample to compare")
    total = Comparison()
    outputs = [value.name or "" for value in reference.graph.outputs]
    count = len(samples) if detailed is None else detailed
    first, others = samples[:count], samples[count:]
    sizes = _sizes(reference, tensors, samples[0])
    threads = max(1, min(thread_count(), memory_bytes // max(1, sum(sizes.values()))))
    groups = list(_groups(sizes, memory_bytes // threads))
    rounds = [(groups[0], first, outputs), *((group, first, []) for group in groups[1:])]
    if others:
        rounds.append(([], others, outputs))
    for group, part, fetched in rounds:
        worker = _Worker(reference, exported, group, fetched, int8_operators, sketched, channel_axes or {})
        at_once = threads if group else thread_count()
        for found in tracked(_in_order(worker, part, at_once), "comparing tensors", len(part)):
            total.add(found)
        worker.close()
    return total


def _sizes(reference: ir.Model, tensors: Sequence[str], sample: Feeds) -> dict[str, int]:
    """Return the bytes of all arrays of each tensor, as far as shapes are known."""
    values = values_by_name(reference.graph)
    symbols = symbol_sizes(reference, sample)
    return {name: ELEMENT_BYTES * _elements(values[name], symbols) for name in tensors}


def _groups(sizes: Mapping[str, int], memory_bytes: int) -> Iterator[list[str]]:
    """Split the tensors into as few groups as possible whose arrays of one sample fit `memory_bytes`."""
    group: list[str] = []
    used = 0
    for name, size in sizes.items():
        if group and used + size > memory_bytes:
            yield group
            group, used = [], 0
        group.append(name)
        used += size
    yield group


def symbol_sizes(model: ir.Model, sample: Feeds) -> dict[str, int]:
    """Return the sizes of the inputs' symbolic dimensions in a sample."""
    return {
        str(dim.value): size
        for value in model.graph.inputs
        if value.shape is not None and value.name in sample
        for dim, size in zip(value.shape, sample[value.name or ""].shape, strict=False)
        if isinstance(dim, ir.SymbolicDim)
    }


def _elements(value: ir.Value, symbols: Mapping[str, int]) -> int:
    """Return the number of elements of a tensor as far as its shape is known."""
    shape: Iterable[int | ir.SymbolicDim] = value.shape or ()
    sizes = (dim if isinstance(dim, int) else symbols.get(str(dim.value), 1) for dim in shape)
    return math.prod(sizes)


class _Worker:
    """Compares one group of tensors on one sample at a time."""

    def __init__(
        self,
        reference: ir.Model,
        exported: ir.Model,
        tensors: Sequence[str],
        outputs: Sequence[str],
        int8_operators: Collection[str],
        sketched: Collection[str],
        channel_axes: Mapping[str, int],
    ) -> None:
        local = with_local_copies(exported, tensors, int8_operators)
        names = list(dict.fromkeys([*tensors, *local.fed, *outputs]))
        self._tensors = tensors
        self._outputs = outputs
        self._local = local
        lean = is_lean_for_few_runs(reference)
        self._float = Session(with_outputs(reference, names), names, threads=1, lean=lean)
        fetched = [*local.accumulated.values(), *local.local.values(), *outputs]
        self._quantized = Session(
            local.model, list(dict.fromkeys(fetched)), threads=1, qdq_as_written=True, lean=lean
        )
        self._sketched = [name for name in tensors if name in sketched]
        self._axes = {name: channel_axes[name] for name in tensors if name in channel_axes}

    def __call__(self, sample: Feeds) -> Comparison:
        floats = _run(self._float, sample)
        given = {LocalModel.input_name(name): floats[name] for name in self._local.fed}
        arrays = _run(self._quantized, {**sample, **given})
        part = Comparison()
        for name in self._tensors:
            for metrics, where in (
                (part.accumulated, self._local.accumulated),
                (part.local, self._local.local),
            ):
                restored = self._local.restored(name, arrays[where[name]])
                metrics[name] = _sums(floats[name], restored)
        vectors: dict[str, tuple[NDArray[np.generic], NDArray[np.generic]]] = {}
        if self._outputs:
            part.vectors.append(vectors)
        for name in self._outputs:
            # An output may be a sequence or an optional value.
            if not isinstance(floats[name], np.ndarray):
                continue
            if floats[name].dtype.kind == "f" and floats[name].shape == arrays[name].shape:
                part.outputs[name] = kernels.error_sums(floats[name], arrays[name])
                if is_class_vector(floats[name]):
                    # Copies, because these stay after the sessions are closed.
                    vectors[name] = np.copy(floats[name]), np.copy(arrays[name])
                part.columns[name] = ColumnErrors()
                part.columns[name].add(floats[name], arrays[name])
        for name in self._sketched:
            sketch = part.sketches[name] = kernels.Sketch()
            sketch.observe(floats[name])
        for name, axis in self._axes.items():
            part.peaks[name] = _peaks(floats[name], axis)
        return part

    def close(self) -> None:
        """Release the sessions of both models, before those of the next group are created."""
        del self._float, self._quantized
        give_back()


def _in_order(worker: _Worker, samples: Sequence[Feeds], threads: int) -> Iterator[Comparison]:
    with Pool(min(threads, len(samples)), "xslim-analysis") as pool:
        yield from pool.map(worker, samples)


def _run(session: Session, feeds: Feeds) -> dict[str, NDArray[np.generic]]:
    return dict(zip(session.outputs, session.run(feeds), strict=True))


def _sums(reference: NDArray[np.generic], test: NDArray[np.generic]) -> kernels.ErrorMetrics:
    """Compare two arrays; if their shapes differ, because shapes depend on values, nothing is compared."""
    return kernels.error_sums(reference, test) if reference.shape == test.shape else kernels.ErrorMetrics()


def _peaks(array: NDArray[np.generic], axis: int) -> NDArray[np.float64]:
    others = tuple(index for index in range(array.ndim) if index != axis % array.ndim)
    peaks: NDArray[np.float64] = np.abs(array).max(axis=others, initial=0).astype(np.float64)
    return peaks
