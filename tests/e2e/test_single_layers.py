"""A model with a single layer is quantised well at every level, whatever the kind of the layer."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import xslim
from tests.models import Dims, draw, model
from xslim.runtime import Session

LAYERS: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "conv 1-d": ("Conv", (1, 4, 16), (6, 4, 3), {}),
    "conv 3-d": ("Conv", (1, 4, 6, 6, 6), (6, 4, 3, 3, 3), {}),
    "depthwise": ("Conv", (1, 4, 8, 8), (4, 1, 3, 3), {"group": 4}),
    "conv with auto_pad": ("Conv", (1, 4, 8, 8), (6, 4, 3, 3), {"auto_pad": "SAME_UPPER"}),
    "transposed 1-d": ("ConvTranspose", (1, 4, 16), (4, 6, 3), {}),
    "transposed 2-d": ("ConvTranspose", (1, 4, 8, 8), (4, 6, 2, 2), {"strides": [2, 2]}),
    "gemm": ("Gemm", (8, 12), (12, 10), {}),
    "matmul": ("MatMul", (1, 8, 12), (12, 10), {}),
    "matmul of many matrices": ("MatMul", (3, 8, 12), (3, 12, 10), {}),
    "constant as first operand": ("MatMul", (1, 8, 12), (10, 8), {}),
}


def one_layer(name: str) -> tuple[onnx.ModelProto, tuple[int, ...]]:
    op_type, shape, weight_shape, attributes = LAYERS[name]
    operands = ["w", "x"] if name.startswith("constant") else ["x", "w"]
    nodes = [
        helper.make_node(op_type, operands, ["y"], name="layer", **attributes),
        helper.make_node("Relu", ["y"], ["z"], name="relu"),
    ]
    unknown: Dims = ["a", "b", "c", "d", "e"][: 2 if op_type == "Gemm" else len(shape)]
    return model(nodes, {"x": shape}, {"z": unknown}, {"w": draw(1, *weight_shape)}), shape


@pytest.mark.parametrize("level", [0, 1, 3])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_alone(name: str, level: int) -> None:
    proto, shape = one_layer(name)
    samples = np.random.default_rng(0).standard_normal((24, *shape)).astype(np.float32)
    made = xslim.quantize(proto, [{"x": sample} for sample in samples[:20]], finetune_level=level).model
    given, quantised = Session(proto.SerializeToString()), Session(made.SerializeToString())
    expected, found = (
        np.stack([session.run({"x": sample})[0] for sample in samples[20:]]) for session in (given, quantised)
    )
    assert 10 * np.log10((expected**2).sum() / ((expected - found) ** 2).sum()) > 30
