"""Run changed copies of a model from the first change on; what lies before runs once for many copies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import onnx_ir as ir

from xslim.calibration.budget import MEGABYTE, output_bytes
from xslim.graph.outputs import with_outputs
from xslim.graph.remainder import cut_equal_part
from xslim.runtime import Feeds, Pool, Session, copied, free_copies, is_lean_for_few_runs, thread_count

Result = TypeVar("Result")

MOST_MODELS = 16
MOST_BYTES = 256 * MEGABYTE
"""Limits of the models, and of the tensors at their cuts, that are in memory at a time."""


@dataclass(frozen=True)
class Changed:
    """A changed copy of a model.

    Attributes
    ----------
    model : onnx_ir.Model
        The copy; it loses the nodes before the first change.
    outputs : list of str
        The tensors to fetch, which are the outputs of the copy.
    parameters : feeds
        Values of inputs that the copy has besides those of the original.
    """

    model: ir.Model
    outputs: list[str]
    parameters: Feeds = field(default_factory=dict)


@dataclass(frozen=True)
class Remainder:
    """What has to run of a changed copy.

    Attributes
    ----------
    session : Session
        The part behind the first change, or the whole copy where it cannot be cut.
    feeds : list of feeds
        The samples, with the tensors at the cut and the parameters as further inputs.
    """

    session: Session
    feeds: list[Feeds]


_Cut = tuple[Changed, list[str]]
"""A copy after the cut, and the names of the tensors at the cut."""


class Remainders:
    """Cuts changed copies of a model.

    Parameters
    ----------
    original : onnx_ir.Model
        The model before the changes.
    samples : sequence of feeds
        At least one.
    """

    def __init__(self, original: ir.Model, samples: Sequence[Feeds]) -> None:
        self._original, self._samples = original, samples
        tensors = [value.name or "" for node in original.graph for value in node.outputs if value.name]
        self._sizes = output_bytes(original, tensors, samples[0])

    def map(self, function: Callable[[Remainder], Result], changed: Iterable[Changed]) -> Iterator[Result]:
        """Call a function for what has to run of every changed copy, in several threads.

        The results have the order of the copies.
        """

        def call(given: tuple[Changed, list[Feeds]]) -> Result:
            copy, feeds = given
            session = Session(copy.model, copy.outputs, threads=1, qdq_as_written=True, lean=lean)
            return function(Remainder(session, feeds))

        lean = is_lean_for_few_runs(self._original)
        with Pool(thread_count(), "xslim-remainders") as pool:
            for group in self._groups(changed):
                yield from pool.map(call, self._fed(group))
                free_copies(self._original)

    def _groups(self, changed: Iterable[Changed]) -> Iterator[Sequence[_Cut]]:
        """Cut the copies; yield as many at a time as the limits allow."""
        group: list[_Cut] = []
        for copy in changed:
            group.append((copy, cut_equal_part(copy.model, self._original) or []))
            size = sum(self._sizes.get(name, 0) for name in _names(group)) * len(self._samples)
            if len(group) == MOST_MODELS or size > MOST_BYTES:
                yield group
                group = []
        if group:
            yield group

    def _fed(self, group: Sequence[_Cut]) -> Iterator[tuple[Changed, list[Feeds]]]:
        values = self._run(_names(group))
        for copy, names in group:
            feeds: list[Feeds] = [
                {**sample, **copy.parameters, **{name: known[name] for name in names}}
                for sample, known in zip(self._samples, values, strict=True)
            ]
            yield copy, feeds

    def _run(self, names: Sequence[str]) -> list[Feeds]:
        """Run the original once on every sample and return the tensors of these names."""
        if not names:
            return [{} for _ in self._samples]
        shown = with_outputs(self._original, names)
        session = Session(shown, names, threads=1, lean=is_lean_for_few_runs(shown))
        return [dict(zip(names, copied(row), strict=True)) for row in session.run_all(self._samples)]


def _names(group: Sequence[_Cut]) -> list[str]:
    return list(dict.fromkeys(name for _, names in group for name in names))
