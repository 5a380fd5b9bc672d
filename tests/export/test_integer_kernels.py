"""onnxruntime runs exported models in integer kernels whose results equal those of the Q/DQ form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.quantization.build import (
    NETS,
    exported,
    feeds_of,
    fused,
    graph,
    normal,
    plan_of,
    prepared,
    quantise,
    run,
    session,
    sqnr,
)
from xslim.quantization.integer_bias import integer_biases
from xslim.targets import load_target

INTEGER = {"QLinearConv", "QGemm", "QLinearMatMul", "MatMulIntegerToFloat"}
FLOAT = {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"}
SIGNED = {"spacemit": True, "generic": False}
"""Targets, and whether onnxruntime has to be told that it may take int8 kernels on x86-64."""


@pytest.mark.parametrize("make", NETS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("target", SIGNED)
def test_onnxruntime_computes_in_integers_and_agrees(make, target: str, tmp_path: Path) -> None:
    proto = make()
    model = prepared(proto)
    feeds, table = feeds_of(proto), load_target(target)
    plan = plan_of(model, target=target)
    _, found = quantise(model, plan, feeds, target)
    # Without an integer bias, x86-64 computes the products of spacemit's Gemm in float.
    found = integer_biases(model, plan, found, table, everywhere=target == "spacemit")
    result = exported(model, plan, found, table)
    loaded, counts = fused(result, tmp_path, signed=SIGNED[target])
    assert not FLOAT & set(counts)
    assert sum(counts[name] for name in INTEGER) == sum(
        node.op_type in ("Conv", "Gemm", "MatMul") for node in result.graph.node
    )
    for item in feeds:
        (integer,), (written,) = loaded.run(None, item), run(result, item)
        assert sqnr(written, integer) > 35


@pytest.mark.parametrize("make", NETS, ids=lambda make: make.__name__)
def test_no_convolution_with_a_float_bias_stays_float(make, tmp_path: Path) -> None:
    proto = make()
    model = prepared(proto)
    result, _ = quantise(model, plan_of(model), feeds_of(proto))
    _, counts = fused(result, tmp_path, signed=True)
    assert not {"Conv", "FusedConv"} & set(counts)
    assert counts["QLinearConv"] == sum(node.op_type == "Conv" for node in result.graph.node)


# What reads x in int8 and writes t in int8, and the kernel that onnxruntime has for it.
OPERATORS = {
    "t = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, k)": "QLinearConv",
    "t = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1], group = 4>(x, d)": "QLinearConv",
    "t = MatMul(x, m)": "QLinearMatMul",
    "t = MatMul(x, x)": "QLinearMatMul",
    "t = Add(x, x)": "QLinearAdd",
    "t = Mul(x, x)": "QLinearMul",
    "t = Sigmoid(x)": "QLinearSigmoid",
    "t = LeakyRelu<alpha = 0.1>(x)": "QLinearLeakyRelu",
    "t = AveragePool<kernel_shape = [3, 3]>(x)": "QLinearAveragePool",
    "t = GlobalAveragePool(x)": "QLinearGlobalAveragePool",
    "t = Softmax<axis = -1>(x)": "QLinearSoftmax",
    "t = MaxPool<kernel_shape = [3, 3]>(x)": "MaxPool",
    "t = Transpose<perm = [0, 1, 3, 2]>(x)": "Transpose",
}


@pytest.mark.parametrize("text", OPERATORS)
@pytest.mark.parametrize("target", SIGNED)
def test_every_kernel_is_within_one_step_of_the_written_arithmetic(
    text: str, target: str, tmp_path: Path
) -> None:
    """On the same int8 inputs; a value on a tie may be rounded either way."""
    weights = {
        "k": normal(1, 4, 4, 3, 3),
        "d": normal(2, 4, 1, 3, 3),
        "m": normal(3, 6, 6),
        "w": normal(4, 4, 4, 1, 1),
    }
    body = f"{text} y = Conv<kernel_shape = [1, 1]>(t, w)"
    used = {name: value for name, value in weights.items() if f" {name})" in body or f" {name}," in body}
    model = prepared(graph(f"(float[1,4,6,6] x) => (float[1,4,H,W] y) {{ {body} }}", used))
    feeds = [{"x": normal(seed, 1, 4, 6, 6)} for seed in range(8)]
    result, _ = quantise(model, plan_of(model, target=target), feeds, target)
    kind = onnx.TensorProto.INT8 if SIGNED[target] else onnx.TensorProto.UINT8
    result.graph.output.append(onnx.helper.make_tensor_value_info("t_quantized", kind, None))
    loaded, counts = fused(result, tmp_path, signed=SIGNED[target])
    assert counts[OPERATORS[text]] >= 1
    for item in feeds:
        (integer,) = loaded.run(["t_quantized"], item)
        (written,) = session(result).run(["t_quantized"], item)
        gap = np.abs(integer.astype(int) - written.astype(int))
        assert gap.max() <= 1
        assert (gap > 0).mean() < 0.05
