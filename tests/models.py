"""Tiny ONNX models that the tests share; weights are drawn from a fixed seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17

Dims = Sequence[int | str]


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Dims],
    outputs: Mapping[str, Dims],
    weights: Mapping[str, NDArray[np.generic]] | None = None,
    *,
    opset: int = OPSET,
    input_type: int = TensorProto.FLOAT,
    output_type: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """Assemble and check a model."""
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info(name, input_type, list(shape)) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, output_type, list(shape)) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    result = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(result, full_check=True)
    return result


def draw(seed: int, *shape: int) -> NDArray[np.float32]:
    """Draw normal weights, scaled by their fan-in."""
    fan_in = int(np.prod(shape[1:])) or 1
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)


def conv_net(batch: int | str = 1, size: int = 8, channels: int = 3) -> onnx.ModelProto:
    """Conv, Relu, MaxPool, Conv, Relu, GlobalAveragePool, Flatten, Gemm: ``x`` to ``y``."""
    weights = {
        "w1": draw(1, 8, channels, 3, 3),
        "b1": draw(2, 8),
        "w2": draw(3, 16, 8, 3, 3),
        "b2": draw(4, 16),
        "w3": draw(5, 10, 16),
        "b3": draw(6, 10),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("MaxPool", ["r1"], ["p1"], name="pool1", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2", "b2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], name="relu2"),
        helper.make_node("GlobalAveragePool", ["r2"], ["g"], name="gap"),
        helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["y"], name="fc", transB=1),
    ]
    return model(nodes, {"x": [batch, channels, size, size]}, {"y": [batch, 10]}, weights)


def mlp(batch: int | str = 1, width: int = 16) -> onnx.ModelProto:
    """Two MatMuls with Add and Relu: ``x`` to ``y``."""
    weights = {
        "w1": draw(1, width, 32),
        "b1": draw(2, 32),
        "w2": draw(3, 32, 4),
        "b2": draw(4, 4),
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["m1"], name="matmul1"),
        helper.make_node("Add", ["m1", "b1"], ["a1"], name="add1"),
        helper.make_node("Relu", ["a1"], ["r1"], name="relu1"),
        helper.make_node("MatMul", ["r1", "w2"], ["m2"], name="matmul2"),
        helper.make_node("Add", ["m2", "b2"], ["y"], name="add2"),
    ]
    return model(nodes, {"x": [batch, width]}, {"y": [batch, 4]}, weights)


def depthwise_net(batch: int | str = 1, size: int = 8) -> onnx.ModelProto:
    """Pointwise, depthwise and pointwise Conv with Clip between, as in MobileNet: ``x`` to ``y``."""
    weights = {
        "w1": draw(1, 12, 3, 1, 1),
        "w2": draw(2, 12, 1, 3, 3),
        "w3": draw(3, 6, 12, 1, 1),
        "zero": np.float32(0),
        "six": np.float32(6),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], name="expand"),
        helper.make_node("Clip", ["c1", "zero", "six"], ["k1"], name="clip1"),
        helper.make_node("Conv", ["k1", "w2"], ["c2"], name="depthwise", group=12, pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["c2", "zero", "six"], ["k2"], name="clip2"),
        helper.make_node("Conv", ["k2", "w3"], ["y"], name="project"),
    ]
    arrays = {name: np.asarray(value) for name, value in weights.items()}
    return model(nodes, {"x": [batch, 3, size, size]}, {"y": [batch, 6, size, size]}, arrays)


def residual_net(batch: int | str = 1, size: int = 8) -> onnx.ModelProto:
    """A Conv, then a block of two Convs whose input is added to its output: ``x`` to ``y``."""
    weights = {"w1": draw(1, 8, 3, 3, 3), "w2": draw(2, 8, 8, 3, 3), "w3": draw(3, 8, 8, 3, 3)}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], name="stem", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu1"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="conv2", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"], name="relu2"),
        helper.make_node("Conv", ["r2", "w3"], ["c3"], name="conv3", pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c3", "r1"], ["s"], name="sum"),
        helper.make_node("Relu", ["s"], ["y"], name="relu3"),
    ]
    return model(nodes, {"x": [batch, 3, size, size]}, {"y": [batch, 8, size, size]}, weights)


def two_inputs(batch: int | str = 1) -> onnx.ModelProto:
    """An image ``image`` and a vector ``vector``, each through its own layer, added: to ``y``."""
    weights = {"w1": draw(1, 8, 3, 8, 8), "w2": draw(2, 5, 8), "flat": np.array([-1, 8], np.int64)}
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c"], name="conv"),
        helper.make_node("Reshape", ["c", "flat"], ["f"], name="reshape"),
        helper.make_node("MatMul", ["vector", "w2"], ["m"], name="matmul"),
        helper.make_node("Add", ["f", "m"], ["y"], name="add"),
    ]
    return model(nodes, {"image": [batch, 3, 8, 8], "vector": [batch, 5]}, {"y": [batch, 8]}, weights)


def token_net(batch: int | str = "batch", length: int | str = "length") -> onnx.ModelProto:
    """An embedding of int64 tokens, a MatMul and a Relu: ``tokens`` to ``y``."""
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["e"], name="embed"),
        helper.make_node("MatMul", ["e", "w"], ["m"], name="matmul"),
        helper.make_node("Relu", ["m"], ["y"], name="relu"),
    ]
    weights = {"table": draw(1, 20, 6), "w": draw(2, 6, 7)}
    return model(
        nodes, {"tokens": [batch, length]}, {"y": [batch, length, 7]}, weights, input_type=TensorProto.INT64
    )


def float_only_net() -> onnx.ModelProto:
    """Operators that stay float on every target: ``x`` to ``y``."""
    return model([helper.make_node("Sin", ["x"], ["y"], name="sin")], {"x": [1, 4]}, {"y": [1, 4]})


def quantised_net() -> onnx.ModelProto:
    """A model that already has a QuantizeLinear and a DequantizeLinear: ``x`` to ``y``."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="quantise"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], name="dequantise"),
        helper.make_node("Relu", ["d"], ["y"], name="relu"),
    ]
    weights = {"scale": np.array(0.1, np.float32), "zero": np.array(0, np.int8)}
    return model(nodes, {"x": [1, 4]}, {"y": [1, 4]}, weights)


def save(proto: onnx.ModelProto, path: Path) -> Path:
    """Write a model and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(proto, path)
    return path


def write_samples(
    folder: Path, shape: Sequence[int], count: int = 8, *, name: str = "x", seed: int = 0
) -> Path:
    """Write normal float32 samples as npy files with a list file; return the list."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for index in range(count):
        np.save(folder / f"{name}{index}.npy", generator.standard_normal(shape).astype(np.float32))
    listing = folder / f"{name}.txt"
    listing.write_text("".join(f"{name}{index}.npy\n" for index in range(count)), "utf-8")
    return listing
