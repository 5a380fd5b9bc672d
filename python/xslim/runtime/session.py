"""One onnxruntime session."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.errors import ConfigError, ModelError
from xslim.graph.detached import detach

logger = logging.getLogger(__name__)

Feeds = Mapping[str, NDArray[np.generic]]

LOG_FATAL = 4


def thread_count() -> int:
    """Number of threads to use: ``XSLIM_THREADS``, else what the process may use of the machine.

    Raises
    ------
    ConfigError
        ``XSLIM_THREADS`` is not a positive whole number.
    """
    given = os.environ.get("XSLIM_THREADS")
    if given is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not given.isdecimal() or int(given) < 1:
        raise ConfigError(f"{given!r} is not a positive whole number", where="XSLIM_THREADS")
    return int(given)


class Session:
    """A model ready to run.

    Parameters
    ----------
    model : onnx_ir.Model, bytes or Path
        A model, a serialised one, or the path of one (needed where its weights are in other files).
    outputs : sequence of str, optional
        Names of the outputs to fetch; all of the model's by default.
    device : {"cpu", "cuda"}
        ``cuda`` falls back to the CPU where the installed onnxruntime has no CUDA provider.
    threads : int, optional
        Threads of one run; `thread_count` by default. With 1, results are the same on every machine of a
        kind, and several threads may call `run` at the same time.
    qdq_as_written : bool
        Execute QuantizeLinear/DequantizeLinear pairs one by one instead of fusing them into integer
        kernels, so that results are those of the quantised arithmetic on any machine.
    lean : bool
        Load fast and keep no second copy of the weights, for a single run: without graph optimisation, packed
        weights and memory arena.
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
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads or thread_count()
        options.log_severity_level = LOG_FATAL
        if qdq_as_written:
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        if lean:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.add_session_config_entry("session.disable_prepacking", "1")
            options.enable_cpu_mem_arena = False
            # The default order would first cast all weights of a float16 model, then use them.
            options.execution_order = ort.ExecutionOrder.PRIORITY_BASED
        given = dict(weights or {})
        if isinstance(model, ir.Model):
            model, given = detach(model)
        # onnxruntime does not copy what it is given here.
        self._weights = [ort.OrtValue.ortvalue_from_numpy(array) for array in given.values()]
        if self._weights:
            options.add_external_initializers(list(given), self._weights)
        source = model if isinstance(model, bytes) else str(model)
        try:
            self._session = ort.InferenceSession(source, options, providers=_providers(device))
        except Exception as error:
            raise ModelError(
                f"onnxruntime cannot load the model: {error}", hint="try the model in onnxruntime alone"
            ) from error
        self.outputs = list(outputs) if outputs is not None else [o.name for o in self._session.get_outputs()]

    def run(self, feeds: Feeds) -> list[NDArray[np.generic]]:
        """Run the model once and return its outputs in the order of ``outputs``.

        Raises
        ------
        ModelError
            onnxruntime refuses the feeds or fails.
        """
        try:
            result: list[NDArray[np.generic]] = self._session.run(self.outputs, dict(feeds))
        except Exception as error:
            raise ModelError(
                f"onnxruntime cannot run the model: {error}",
                hint="compare the shapes of the samples with xslim info",
            ) from error
        return result

    def run_all(self, samples: Sequence[Feeds]) -> Iterator[list[NDArray[np.generic]]]:
        """Run all samples, as many at a time as there are threads, and return their outputs in order.

        Raises
        ------
        ModelError
            As `run`.
        """
        with ThreadPoolExecutor(thread_count()) as pool:
            yield from pool.map(self.run, samples)


def _providers(device: str) -> list[str]:
    import onnxruntime as ort

    if device == "cuda":
        if "CUDAExecutionProvider" in ort.get_available_providers():
            return ["CUDAExecutionProvider", "CPUExecutionProvider"]
        logger.info("calibration_device is cuda, but the installed onnxruntime has none: using the CPU")
    return ["CPUExecutionProvider"]
