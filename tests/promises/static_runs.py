"""Static runs over small networks: the network, its samples, and whether the result loads and computes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from tests.quantization.build import graph
from xslim import quantize_onnx_model
from xslim.kernels import ErrorMetrics

Array = NDArray[Any]
SAMPLES = 8
LEVELS = (
    ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
)


@dataclass(frozen=True)
class Net:
    """A network in ONNX's text form.

    Attributes
    ----------
    text : str
        The graph.
    weights : mapping of str to array
        Its initializers.
    others : mapping of str to callable
        What draws the inputs that are not standard normal, given a random generator.
    opset : int
        Of the standard operators.
    least_db : float
        What the result has to reach at least against the float network.
    """

    text: str
    weights: Mapping[str, Array] = field(default_factory=dict)
    others: Mapping[str, Callable[[np.random.Generator], Array]] = field(default_factory=dict)
    opset: int = 17
    least_db: float = 18.0

    @property
    def proto(self) -> onnx.ModelProto:
        """The network as a model."""
        return graph(self.text, self.weights, opset=self.opset)

    def samples(self, count: int = SAMPLES) -> list[dict[str, Array]]:
        """Samples from a fixed seed."""
        random = np.random.default_rng(0)
        return [
            {item.name: self._draw(item, random) for item in self.proto.graph.input} for _ in range(count)
        ]

    def _draw(self, item: onnx.ValueInfoProto, random: np.random.Generator) -> Array:
        if item.name in self.others:
            return np.asarray(self.others[item.name](random))
        dtype = onnx.helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type)
        shape = [dim.dim_value or 1 for dim in item.type.tensor_type.shape.dim]
        return np.asarray(random.standard_normal(shape)).astype(dtype)


def weights(seed: int, *shape: int, dtype: type[Any] = np.float32) -> Array:
    """Normal weights, scaled by their fan-in."""
    fan_in = int(np.prod(shape[1:])) or 1
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(fan_in)).astype(dtype)


def configuration(folder: Path, samples: list[dict[str, Array]], **quantization: Any) -> dict[str, Any]:
    """Write samples as npy files and return a configuration that names them."""
    entries = []
    for number, name in enumerate(samples[0]):
        files = [folder / f"{number}_{index}.npy" for index in range(len(samples))]
        for file, sample in zip(files, samples, strict=True):
            np.save(file, sample[name])
        listing = folder / f"{number}.txt"
        listing.write_text("".join(f"{file.name}\n" for file in files), "utf-8")
        entries.append({"input_name": name, "file_type": "npy", "data_list_path": str(listing)})
    return {
        "calibration_parameters": {"calibration_device": "cpu", "input_parameters": entries},
        "quantization_parameters": {"analysis_enable": False, **quantization},
    }


def quantise(net: Net, folder: Path, **quantization: Any) -> onnx.ModelProto:
    """Run XSlim on the network and its samples."""
    config = configuration(folder, net.samples(), **quantization)
    return quantize_onnx_model(config, net.proto, folder / "result.onnx")


def run(
    proto: onnx.ModelProto, sample: Mapping[str, Array], level: ort.GraphOptimizationLevel
) -> list[Array]:
    """Run a model at a level of onnxruntime's optimisation."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = level
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs: list[Array] = session.run(None, dict(sample))
    return outputs


def sqnr(expected: list[Array], found: list[Array]) -> float:
    """Signal-to-noise ratio of the floating-point outputs together, in dB."""
    total = ErrorMetrics()
    for wanted, given in zip(expected, found, strict=True):
        assert wanted.shape == given.shape
        if wanted.dtype.kind == "f":
            total.update(wanted.astype(np.float32), given.astype(np.float32))
    return total.sqnr_db


def op_types(proto: onnx.ModelProto) -> set[str]:
    """Operators of the main graph."""
    return {node.op_type for node in proto.graph.node}
