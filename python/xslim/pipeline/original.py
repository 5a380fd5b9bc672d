"""The float model that the user gave, and its runs, with which every result is compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from xslim.export.trial import LEAN_ABOVE, TrialRun, run_float_model
from xslim.graph.io import to_proto, weight_bytes
from xslim.passes.shapes import contradicts
from xslim.pipeline.paths import ModelSource
from xslim.runtime import Feeds, Isolated


@dataclass(frozen=True)
class Original:
    """A float model and its outputs for some inputs.

    Attributes
    ----------
    model : onnx_ir.Model
        The model as it was loaded.
    source : bytes or Path
        The same model, serialised or as a file.
    isolated : Isolated
        The process that runs it.
    trials : tuple of TrialRun
        Runs whose outputs a prepared model must reproduce; empty if the model cannot be run.
    loads : bool
        Whether onnxruntime loads the model; if not, nothing that is made from the model is run.
    lean : bool
        Whether the weights are so large that sessions must not keep a second copy of them.
    unchecked : bool
        Whether the user wants the result even if it is wrong.
    """

    model: ir.Model
    source: bytes | Path
    isolated: Isolated
    trials: tuple[TrialRun, ...] = ()
    loads: bool = True
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
        return cls(model, file, isolated, tuple(trials or ()), trials is not None, lean, unchecked)

    @property
    def trial(self) -> TrialRun | None:
        """The run on random input or on the first sample; None if the model cannot be run."""
        return self.trials[0] if self.trials else None

    def corrected_shapes(self) -> dict[str, ir.Shape]:
        """Return corrected shapes of the outputs whose declared shapes differ from those of the values."""
        declared = {value.name: value.shape for value in self.model.graph.outputs}
        found: dict[str, ir.Shape] = {}
        for trial in self.trials:
            for name, array in zip(trial.names, trial.outputs, strict=True):
                stated = found.get(name) or declared.get(name)
                if isinstance(array, np.ndarray) and stated is not None and contradicts(stated, array.shape):
                    found[name] = _corrected(stated, array.shape)
        return found


def _corrected(stated: ir.Shape, actual: Sequence[int]) -> ir.Shape:
    """Return the declared shape without the wrong dimensions, which become unknown."""
    if len(stated) != len(actual):
        return ir.Shape([None] * len(actual))
    pairs = zip(stated, actual, strict=True)
    return ir.Shape([None if isinstance(dim, int) and dim != size else dim for dim, size in pairs])
