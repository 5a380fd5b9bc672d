"""Helpers that run an exported model and its float model on the same inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from xslim.graph.io import load_model, to_proto
from xslim.passes import prepare

Feeds = Mapping[str, NDArray[np.generic]]


def prepared(proto: onnx.ModelProto, *, minimum_opset: int = 13) -> ir.Model:
    return prepare(load_model(proto), minimum_opset=minimum_opset)


def run(model: onnx.ModelProto | ir.Model, feeds: Feeds) -> list[NDArray[np.generic]]:
    proto = model if isinstance(model, onnx.ModelProto) else to_proto(model)
    onnx.checker.check_model(proto)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs: list[NDArray[np.generic]] = session.run(None, dict(feeds))
    return outputs


def sqnr_db(reference: NDArray[np.generic], test: NDArray[np.generic]) -> float:
    signal, noise = np.square(reference.astype(np.float64)), np.square(reference.astype(np.float64) - test)
    return float(10 * np.log10(signal.sum() / noise.sum())) if noise.any() else float("inf")


def count(model: ir.Model, op_type: str) -> int:
    return sum(node.op_type == op_type for node in model.graph)


def draw(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
