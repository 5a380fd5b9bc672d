"""The float model as the user gave it: it has to run, and every result is compared with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from xslim.export.check import LEAN_ABOVE, TrialRun, run_float_model
from xslim.graph.io import to_proto, weight_bytes
from xslim.passes.shapes import contradicts
from xslim.pipeline.paths import ModelSource
from xslim.runtime import Feeds, Isolated


@dataclass(frozen=True)
class Original:
    """A float model and what it makes of some inputs.

    Attributes
    ----------
    model : onnx_ir.Model
        As it was loaded.
    source : bytes or Path
        The same, serialised or as a file.
    isolated : Isolated
        The process that runs it.
    trials : tuple of TrialRun
        Runs that a prepared model has to repeat; empty where the model cannot be run.
    lean : bool
        Its weights are large: sessions keep no second copy of them.
    unchecked : bool
        The user wants the result even where it is wrong.
    """

    model: ir.Model
    source: bytes | Path
    isolated: Isolated
    trials: tuple[TrialRun, ...] = ()
    lean: bool = False
    unchecked: bool = False

    @classmethod
    def of(
        cls,
        model: ir.Model,
        source: ModelSource,
        isolated: Isolated,
        *,
        unchecked: bool,
        samples: Sequence[Feeds] = (),
    ) -> Original:
        """Run the model on random input and on samples.

        Raises
        ------
        ModelError
            onnxruntime refuses the model, although it knows its operators.
        """
        lean = weight_bytes(model) > LEAN_ABOVE
        file = source if isinstance(source, Path) else to_proto(model).SerializeToString()
        trials = run_float_model(file, model, isolated, lean=lean, unchecked=unchecked, samples=samples)
        return cls(model, file, isolated, tuple(trials), lean, unchecked)

    @property
    def trial(self) -> TrialRun | None:
        """The run on random input, or the first sample; None where the model cannot be run."""
        return self.trials[0] if self.trials else None

    def corrected_shapes(self) -> dict[str, ir.Shape]:
        """Shapes of the outputs whose declaration is not that of what the model returns."""
        declared = {value.name: value.shape for value in self.model.graph.outputs}
        found: dict[str, ir.Shape] = {}
        for trial in self.trials:
            for name, array in zip(trial.names, trial.outputs, strict=True):
                stated = found.get(name) or declared.get(name)
                if isinstance(array, np.ndarray) and stated is not None and contradicts(stated, array.shape):
                    found[name] = _corrected(stated, array.shape)
        return found


def _corrected(stated: ir.Shape, actual: Sequence[int]) -> ir.Shape:
    """What is left of a declaration: the dimensions that are not wrong."""
    if len(stated) != len(actual):
        return ir.Shape([None] * len(actual))
    pairs = zip(stated, actual, strict=True)
    return ir.Shape([None if isinstance(dim, int) and dim != size else dim for dim, size in pairs])
