"""One onnxruntime session in this process."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.errors import ModelError
from xslim.graph.detached import detach
from xslim.graph.io import load_mended, weight_bytes
from xslim.runtime.engine import FULL, Engine, SessionOptions
from xslim.runtime.memory import give_back
from xslim.runtime.pool import Pool
from xslim.runtime.threads import thread_count

Feeds = Mapping[str, NDArray[np.generic]]

LEAN_ABOVE = 32 << 20
"""With more bytes of weights than this, packing and folding them in a session takes longer than it saves in a
few runs."""


def is_lean_for_few_runs(model: ir.Model) -> bool:
    """Whether a session that runs a model a few times should be lean, see `SessionOptions`."""
    return weight_bytes(model) > LEAN_ABOVE


def free_copies(model: ir.Model) -> None:
    """Free the changed copies of a model that are no longer used, and their sessions.

    A model consists of objects that refer to each other, so its weights stay in memory until Python searches
    for such cycles. The search takes 20 to 60 ms, so it is made only if the weights are large.
    """
    if is_lean_for_few_runs(model):
        gc.collect()
    give_back()


class Session(Engine):
    """A model loaded in this process; `Isolated.session` loads one in a child process, safe from crashes.

    Parameters
    ----------
    model : onnx_ir.Model, bytes or Path
        A model, a serialised model, or the path of a model file. A model whose weights are in other files
        must be given by its path.
    outputs : sequence of str, optional
        Names of the outputs to fetch; all of the model's by default.
    device : str
        ``cpu``, ``cuda`` or ``cuda:<number>``; without a CUDA provider, the model runs on the CPU.
    threads : int, optional
        Threads of one run; `thread_count` by default. With 1, results are the same on all machines with the
        same kind of processor, and several threads may call `run` at the same time.
    qdq_as_written, lean : bool
        See `SessionOptions`.
    weights : mapping of str to array
        Initializers that a serialised model declares external; they are read in place.

    Raises
    ------
    ModelError
        onnxruntime cannot load the model.
    """

    def __init__(
        self,
        model: ir.Model | bytes | Path,
        outputs: Sequence[str] | None = None,
        *,
        device: str = "cpu",
        threads: int | None = None,
        qdq_as_written: bool = False,
        lean: bool = False,
        weights: Mapping[str, NDArray[np.generic]] | None = None,
    ) -> None:
        given = dict(weights or {})
        if isinstance(model, ir.Model):
            model, given = detach(model)
        options = SessionOptions(device, threads or thread_count(), FULL, qdq_as_written, lean)
        try:
            super().__init__(model, outputs, options, given)
        except ModelError:
            mended = load_mended(model) if isinstance(model, Path) else None
            if mended is None:
                raise
            source, given = detach(mended)
            super().__init__(source, outputs, options, given)

    def run_all(self, samples: Sequence[Feeds]) -> Iterator[list[NDArray[np.generic]]]:
        """Run all samples, as many at a time as there are threads, and return their outputs in order.

        Raises
        ------
        ModelError
            As `run`.
        """
        with Pool(thread_count()) as pool:
            yield from pool.map(self.run, samples)
