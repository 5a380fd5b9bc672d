"""Compare a prepared model with the original; differences that rounding or chance explain are accepted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.errors import ModelError
from xslim.export.trial import TrialRun
from xslim.graph.ops import all_values
from xslim.graph.outputs import values_by_name, with_outputs
from xslim.pipeline.original import Original
from xslim.pipeline.replay import Replay
from xslim.runtime import Feeds, disagreement
from xslim.runtime.engine import NONE

logger = logging.getLogger(__name__)

TOLERANCES = {None: 1e-3, ir.DataType.FLOAT16: 3e-2, ir.DataType.BFLOAT16: 1e-1}
"""Largest difference, relative to the tensor's norm, by the narrowest type that the model computes in."""

NUDGE = 3e-6
"""Relative change of the inputs by which the influence of rounding on the outputs is measured."""
EXPLAINED = 10.0
"""Rounding explains a difference of at most this many times the effect of changing the inputs by `NUDGE`."""

GROUP = 64
"""Number of inner tensors that one run returns during the search for the first wrong tensor."""


Run = Callable[[Feeds], list[NDArray[np.generic]]]


@dataclass(frozen=True)
class Fault:
    """A wrong tensor of a prepared model.

    Attributes
    ----------
    tensor : str or None
        Name of the tensor; None if the model does not run.
    words : str
        What is wrong with the tensor, as the end of a sentence.
    """

    tensor: str | None
    words: str

    def __str__(self) -> str:
        return f"{self.tensor} {self.words}" if self.tensor else self.words


class Judge:
    """Compares models with an original whose outputs are known from its runs."""

    def __init__(self, original: Original) -> None:
        self._original = original
        kinds = {value.dtype for value in all_values(original.model)}
        self._tolerance = max(TOLERANCES[kind] for kind in TOLERANCES if kind is None or kind in kinds)

    def fault(self, model: ir.Model) -> Fault | None:
        """Return what is wrong with a model, or None."""
        trials = self._original.trials
        try:
            # A session for every trial would send the weights to the child process again.
            run = self._runner(model, trials[0].names if trials else [])
            for trial in trials:
                found = self._differences(trial, run(trial.feeds))
                if found:
                    logger.debug("differs at first sight: %s", "; ".join(map(str, found)))
                    if fault := self._excused(model, trial, found):
                        return fault
        except ModelError as error:
            return Fault(None, f"the prepared model does not run: {error.what}")
        return None

    def first_fault(self, model: ir.Model) -> Fault | None:
        """Return the first tensor, in the order of a model's nodes, that differs from that of its name."""
        trial = self._original.trials[-1]
        known = values_by_name(self._original.model.graph)
        names = [
            value.name
            for node in model.graph
            for value in node.outputs
            if value.name in known and value.is_graph_output() + len(value.uses()) > 0
        ]
        for start in range(0, len(names), GROUP):
            some = [name for name in names[start : start + GROUP] if name]
            references = self._evaluate(self._original.model, some, trial.feeds)
            outputs = self._evaluate(model, some, trial.feeds)
            if found := self._differences(TrialRun(trial.feeds, references, some), outputs):
                return found[0]
        return None

    def _differences(self, trial: TrialRun, outputs: Sequence[NDArray[np.generic]]) -> list[Fault]:
        found = []
        for name, reference, output in zip(trial.names, trial.outputs, outputs, strict=True):
            distance, words = disagreement(reference, output)
            if distance > self._tolerance:
                found.append(Fault(name, words))
        return found

    def _excused(self, model: ir.Model, trial: TrialRun, found: Sequence[Fault]) -> Fault | None:
        """Return the first fault that neither chance nor rounding explains, or None."""
        if fault := self._misread(trial):
            return fault
        replay = Replay.of(model, self._original.model, [fault.tensor or "" for fault in found])
        if not replay.compared:
            return None
        given = self._evaluate(self._original.model, replay.given, trial.feeds)
        feeds = {**trial.feeds, **dict(zip(replay.given, given, strict=True))}
        references = self._evaluate(self._original.model, replay.compared, trial.feeds)
        outputs = self._evaluate(replay.model, replay.compared, feeds)
        left = self._differences(TrialRun(feeds, references, replay.compared), outputs)
        if not left:
            return None
        moved = self._evaluate(
            replay.model, replay.compared, {name: _nudge(array) for name, array in feeds.items()}
        )
        rows = zip(replay.compared, references, outputs, moved, strict=True)
        rounding = {
            name: disagreement(reference, output)[0] <= EXPLAINED * disagreement(output, other)[0]
            for name, reference, output, other in rows
        }
        return next((fault for fault in left if not rounding[fault.tensor or ""]), None)

    def _misread(self, trial: TrialRun) -> Fault | None:
        """Return the first output for which the loaded model and its file differ, or None.

        Chance and rounding are looked for in the loaded model, so they must not hide this difference.
        """
        original = self._original
        try:
            first, second = (
                original.isolated.session(original.source, trial.names, optimisation=NONE, lean=True).run(
                    trial.feeds
                )
                for _ in range(2)
            )
        except ModelError as error:
            logger.debug("the file itself does not run without optimisation: %s", error)
            return None
        if self._differences(TrialRun(trial.feeds, first, trial.names), second):
            return None  # Chance.
        loaded = self._evaluate(original.model, trial.names, trial.feeds)
        return next(iter(self._differences(TrialRun(trial.feeds, first, trial.names), loaded)), None)

    def _evaluate(self, model: ir.Model, names: Sequence[str], feeds: Feeds) -> list[NDArray[np.generic]]:
        """Run a model once and return some of its tensors."""
        return self._runner(model, names)(feeds)

    def _runner(self, model: ir.Model, names: Sequence[str]) -> Run:
        """Return a function that runs a model; feeds that are not inputs of the model are left out."""
        if not names:
            return lambda _: []
        taken = {value.name for value in model.graph.inputs}
        session = self._original.isolated.session(
            with_outputs(model, names), names, optimisation=NONE, lean=True
        )
        return lambda feeds: session.run({name: array for name, array in feeds.items() if name in taken})


def _nudge(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind != "f":
        return array
    signs = np.random.default_rng(0).integers(0, 2, array.shape) * 2 - 1
    step = max(NUDGE, 2 * float(np.finfo(array.dtype).eps))
    return np.asarray(array * (1 + step * signs)).astype(array.dtype)
