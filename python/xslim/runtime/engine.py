"""Create and run onnxruntime sessions, in this process or in a child process.

A child process imports this module without the rest of the package, so the module may import only numpy and
onnxruntime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xslim.errors import ModelError

LOG_FATAL = 4

FULL, NONE = "ORT_ENABLE_ALL", "ORT_DISABLE_ALL"

CPU, CUDA_PROVIDER = "cpu", "CUDAExecutionProvider"

OPTIMISATIONS = (FULL, "ORT_ENABLE_EXTENDED", "ORT_ENABLE_BASIC", NONE)
"""onnxruntime's levels of graph optimisation, from its default to none."""


@dataclass(frozen=True)
class SessionOptions:
    """How a model is run.

    Attributes
    ----------
    device : str
        ``cpu``, ``cuda`` or ``cuda:<number>``; without a CUDA provider, the model runs on the CPU.
    threads : int
        Threads of one run; 0 leaves the choice to onnxruntime.
    optimisation : str
        One of `OPTIMISATIONS`.
    qdq_as_written : bool
        Whether QuantizeLinear/DequantizeLinear pairs are executed one by one, and not fused into integer
        kernels. The results are then the same on every machine.
    lean : bool
        Whether the session is made for a single run: it loads fast and keeps no second copy of the weights,
        as graph optimisation, packed weights and the memory arena are off.
    """

    device: str = CPU
    threads: int = 0
    optimisation: str = FULL
    qdq_as_written: bool = False
    lean: bool = False


Description = tuple[str, str, Sequence[int | str | None]]
"""Name, type (``tensor(float)``) and shape of an output, as onnxruntime infers them."""


class Engine:
    """An onnxruntime session. `described` holds the description of every output of the model.

    Parameters
    ----------
    source : bytes or Path
        A serialised model, or the path of a model file.
    outputs : sequence of str or None
        Names of the outputs to fetch; None for all of the model's.
    options : SessionOptions
        How to run the model.
    weights : mapping of str to array
        Initializers that a serialised model declares external; they are read in place.

    Raises
    ------
    ModelError
        onnxruntime cannot load the model.
    """

    def __init__(
        self,
        source: bytes | Path,
        outputs: Sequence[str] | None,
        options: SessionOptions,
        weights: Mapping[str, NDArray[Any]],
    ) -> None:
        import onnxruntime as ort

        settings = ort.SessionOptions()
        settings.intra_op_num_threads = options.threads
        settings.log_severity_level = LOG_FATAL
        level = NONE if options.lean else options.optimisation
        settings.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
        if options.qdq_as_written:
            settings.add_session_config_entry("session.disable_quant_qdq", "1")
        if options.lean:
            settings.add_session_config_entry("session.disable_prepacking", "1")
            settings.enable_cpu_mem_arena = False
            # In the default order, all weights of a float16 model are cast before the first one is used.
            settings.execution_order = ort.ExecutionOrder.PRIORITY_BASED
        # onnxruntime does not copy these arrays, so they must live as long as the session.
        self._weights = [ort.OrtValue.ortvalue_from_numpy(array) for array in weights.values()]
        if self._weights:
            settings.add_external_initializers(list(weights), self._weights)
        given = source if isinstance(source, bytes) else str(source)
        try:
            self._session = ort.InferenceSession(given, settings, providers=_providers(options.device))
        except Exception as error:
            raise ModelError(
                f"onnxruntime cannot load the model: {error}", hint="try the model in onnxruntime alone"
            ) from error
        self.described: Sequence[Description] = [
            (item.name, item.type, item.shape) for item in self._session.get_outputs()
        ]
        self.outputs = list(outputs) if outputs is not None else [name for name, *_ in self.described]

    def run(self, feeds: Mapping[str, NDArray[np.generic]]) -> list[Any]:
        """Run the model once and return its outputs in the order of ``outputs``.

        Raises
        ------
        ModelError
            onnxruntime refuses the feeds or fails.
        """
        try:
            result: list[Any] = self._session.run(self.outputs, dict(feeds))
        except Exception as error:
            raise ModelError(
                f"onnxruntime cannot run the model: {error}",
                hint="compare the shapes of the samples with xslim info",
            ) from error
        return result


def device_in_use(wanted: str) -> str:
    """Return the wanted device if the installed onnxruntime has a provider for it, or else ``cpu``."""
    import onnxruntime as ort

    return wanted if wanted == CPU or CUDA_PROVIDER in ort.get_available_providers() else CPU


def _providers(device: str) -> list[str | tuple[str, dict[str, str]]]:
    _, _, number = device_in_use(device).partition(":")
    cuda = (CUDA_PROVIDER, {"device_id": number or "0"})
    return ["CPUExecutionProvider"] if device_in_use(device) == CPU else [cuda, "CPUExecutionProvider"]
