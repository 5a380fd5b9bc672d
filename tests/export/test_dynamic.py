from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import helper

from tests.export.running import count, draw, prepared, run, sqnr_db
from tests.models import conv_net, model
from xslim.export import dynamic_smoothing
from xslim.export.decisions import Conversion
from xslim.export.dynamic import LONGEST_SUM, quantize_dynamically
from xslim.graph.ops import constant
from xslim.targets import load_target

TARGETS = ("spacemit", "generic")


def convert(proto: onnx.ModelProto, target: str = "spacemit", **kept: str) -> Conversion:
    return quantize_dynamically(prepared(proto), load_target(target), kept)


def products(count_: int, *, width: int = 64, rank: int = 2) -> onnx.ModelProto:
    """`count_` products of one activation with matrices of their own."""
    nodes = [helper.make_node("Relu", ["x"], ["a"], name="relu")]
    nodes += [
        helper.make_node("MatMul", ["a", f"w{i}"], [f"y{i}"], name=f"product{i}") for i in range(count_)
    ]
    shape = (2, 5, width)[-rank:]
    outputs = {f"y{i}": [*shape[:-1], 48] for i in range(count_)}
    weights = {f"w{i}": draw(i, width, 48) for i in range(count_)}
    return model(nodes, {"x": list(shape)}, outputs, weights)


def gemm(bias: NDArray[np.float32] | None, transposed: bool = True, **attributes: float) -> onnx.ModelProto:
    weights = {"w": draw(1, 48, 64) if transposed else draw(1, 64, 48)}
    names = ["x", "w"]
    if bias is not None:
        weights["b"] = bias
        names.append("b")
    node = helper.make_node("Gemm", names, ["y"], name="fc", transB=int(transposed), **attributes)
    return model([node], {"x": [3, 64]}, {"y": [3, 48]}, weights)


def one(decisions: Conversion, name: str) -> tuple[bool, str]:
    (found,) = [(item.converted, item.reason) for item in decisions.decisions if item.name == name]
    return found


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("readers", [1, 3])
def test_products_are_close_and_their_activation_is_measured_once(
    target: str, rank: int, readers: int
) -> None:
    proto = products(readers, rank=rank)
    result = convert(proto, target).model
    feeds = {"x": draw(9, *(2, 5, 64)[-rank:])}
    for expected, found in zip(run(proto, feeds), run(result, feeds), strict=True):
        assert sqnr_db(expected, found) > 35
    fused = count(result, "DynamicQuantizeMatMul")
    assert fused == (1 if target == "spacemit" and readers == 1 else 0)
    assert count(result, "DynamicQuantizeLinear") + fused == 1
    assert count(result, "MatMul") == 0


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("bias", [None, (48,), (1, 48), (1,), (3, 1), (3, 48)], ids=str)
def test_gemm_keeps_its_bias(target: str, transposed: bool, bias: tuple[int, ...] | None) -> None:
    proto = gemm(None if bias is None else 10 * draw(3, *bias), transposed)
    result = convert(proto, target).model
    feeds = {"x": draw(4, 3, 64)}
    assert sqnr_db(run(proto, feeds)[0], run(result, feeds)[0]) > 35
    assert count(result, "Gemm") == 0
    # A bias per output goes into the node, any other is added behind it.
    apart = bias is not None and (target == "generic" or bias not in ((48,), (1, 48)))
    assert count(result, "Add") == int(apart)


@pytest.mark.parametrize("attributes", [{"alpha": 0.5}, {"beta": 2.0}], ids=str)
def test_a_scaled_gemm_is_right(attributes: dict[str, float]) -> None:
    proto = gemm(draw(3, 48), **attributes)
    result = convert(proto).model
    feeds = {"x": draw(4, 3, 64)}
    assert sqnr_db(run(proto, feeds)[0], run(result, feeds)[0]) > 35
    assert any(value.dtype == ir.DataType.INT8 for value in result.graph.initializers.values())


def test_weights_have_one_symmetric_scale_per_output_channel() -> None:
    result = convert(conv_net(size=8, channels=16)).model
    weights = [value for value in result.graph.initializers.values() if value.dtype == ir.DataType.INT8]
    nodes = [node for node in result.graph if node.op_type == "DequantizeLinear"]
    assert len(nodes) == 2
    for node in nodes:
        stored, scale, zero_point = (constant(value) for value in node.inputs)
        assert stored is not None
        assert scale is not None
        assert zero_point is not None
        assert scale.shape == (len(stored),)
        assert node.attributes["axis"].value == 0
        assert not zero_point.any()
        assert np.abs(stored.astype(int)).max(axis=(1, 2, 3)).min() > 60
    assert weights


def test_convolutions_compute_in_float_with_int8_weights() -> None:
    proto = conv_net(size=8, channels=16)
    result = convert(proto).model
    feeds = {"x": draw(1, 1, 16, 8, 8)}
    assert sqnr_db(run(proto, feeds)[0], run(result, feeds)[0]) > 30
    assert count(result, "Conv") == 2


@pytest.mark.parametrize("group", [1, 2])
def test_transposed_convolutions(group: int) -> None:
    node = helper.make_node(
        "ConvTranspose", ["x", "w"], ["y"], name="up", strides=[2, 2], kernel_shape=[2, 2], group=group
    )
    proto = model([node], {"x": [1, 16, 4, 4]}, {"y": [1, 32, 8, 8]}, {"w": draw(1, 16, 32 // group, 2, 2)})
    result = convert(proto).model
    feeds = {"x": draw(2, 1, 16, 4, 4)}
    assert sqnr_db(run(proto, feeds)[0], run(result, feeds)[0]) > (40 if group == 1 else 35)


@pytest.mark.parametrize(
    ("weight", "reason"),
    [
        (np.eye(64, dtype=np.float32), "whole numbers"),
        (draw(1, 64, 8), "fewer than"),
        (np.where(np.arange(4096).reshape(64, 64) == 7, np.inf, draw(1, 64, 64)), "not finite"),
    ],
    ids=["whole", "tiny", "infinite"],
)
def test_what_stays_as_it_is_says_why(weight: NDArray[np.float32], reason: str) -> None:
    nodes = [
        helper.make_node("Softmax", ["x"], ["s"], name="softmax"),
        helper.make_node("MatMul", ["s", "w"], ["y"], name="product"),
    ]
    shape = {"y": [2, weight.shape[1]]}
    result = convert(model(nodes, {"x": [2, 64]}, shape, {"w": weight.astype(np.float32)}))
    converted, found = one(result, "product")
    assert not converted
    assert reason in found
    assert count(result.model, "MatMul") == 1


def test_products_of_activations_and_ignored_operators_are_left_alone() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="weights"),
        helper.make_node("Transpose", ["a"], ["t"], name="transpose"),
        helper.make_node("MatMul", ["a", "t"], ["y"], name="scores"),
    ]
    proto = model(nodes, {"x": [4, 64]}, {"y": [4, 4]}, {"w": draw(1, 64, 64)})
    result = convert(proto, weights="asked for")
    assert one(result, "weights") == (False, "asked for")
    assert one(result, "scores") == (False, "its weight is not constant")
    assert result.converted == 0
    feeds = {"x": draw(2, 4, 64)}
    np.testing.assert_array_equal(run(proto, feeds)[0], run(result.model, feeds)[0])


def test_a_weight_that_two_products_read_is_stored_once() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "w"], ["y"], name="second"),
    ]
    proto = model(nodes, {"x": [4, 64]}, {"y": [4, 64]}, {"w": draw(1, 64, 64) / 8})
    result = convert(proto).model
    assert sum(value.dtype == ir.DataType.INT8 for value in result.graph.initializers.values()) == 1
    assert "w" not in result.graph.initializers
    feeds = {"x": draw(2, 4, 64)}
    assert sqnr_db(run(proto, feeds)[0], run(result, feeds)[0]) > 30


def test_a_sum_that_int32_cannot_hold_stays_float() -> None:
    length = LONGEST_SUM + 1
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    proto = model([node], {"x": [1, length]}, {"y": [1, 1]}, {"w": draw(1, length, 1)})
    result = convert(proto)
    assert one(result, "product") == (True, "int8 weights, float arithmetic")


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_lstm(direction: str) -> None:
    directions = 2 if direction == "bidirectional" else 1
    weights = {"w": draw(1, directions, 64, 32) / 4, "r": draw(2, directions, 64, 16) / 4}
    node = helper.make_node(
        "LSTM", ["x", "w", "r"], ["y", "", "c"], name="lstm", hidden_size=16, direction=direction
    )
    outputs = {"y": [6, directions, 1, 16], "c": [directions, 1, 16]}
    proto = model([node], {"x": [6, 1, 32]}, outputs, weights)
    result = convert(proto)
    assert one(result, "lstm") == (True, "DynamicQuantizeLSTM")
    feeds = {"x": draw(3, 6, 1, 32)}
    for expected, found in zip(run(proto, feeds), run(result.model, feeds), strict=True):
        assert sqnr_db(expected, found) > 25


def test_gru_reads_int8_weights() -> None:
    weights = {"w": draw(1, 1, 96, 32) / 4, "r": draw(2, 1, 96, 32) / 4}
    node = helper.make_node("GRU", ["x", "w", "r"], ["y"], name="gru", hidden_size=32)
    proto = model([node], {"x": [6, 1, 32]}, {"y": [6, 1, 1, 32]}, weights)
    result = convert(proto).model
    assert count(result, "DequantizeLinear") == 2
    feeds = {"x": draw(3, 6, 1, 32)}
    assert sqnr_db(run(proto, feeds)[0], run(result, feeds)[0]) > 35


def normalized(residual: bool, scale: NDArray[np.float32]) -> onnx.ModelProto:
    nodes = [
        helper.make_node("LayerNormalization", ["x", "g", "b"], ["n"], name="norm"),
        helper.make_node("MatMul", ["n", "w"], ["m"], name="product"),
        helper.make_node("Add", ["m", "n" if residual else "x"], ["y"], name="sum"),
    ]
    weights = {"g": scale, "b": np.zeros(64, np.float32), "w": draw(1, 64, 64)}
    return model(nodes, {"x": [8, 64]}, {"y": [8, 64]}, weights)


@pytest.mark.parametrize("residual", [True, False])
def test_channels_of_very_different_size_are_evened_out(
    residual: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    scale = np.where(np.arange(64) % 8 == 5, 20, 0.3).astype(np.float32)
    proto = normalized(residual, scale)
    feeds = {"x": draw(2, 8, 64)}
    (expected,) = run(proto, feeds)
    smoothed = convert(proto).model
    monkeypatch.setattr(dynamic_smoothing, "STRENGTHS", (0.0,))
    plain = convert(proto).model
    # Where others read the activation as well, it is divided on the way to the products only.
    assert count(smoothed, "Mul") == int(residual)
    assert count(plain, "Mul") == 0
    assert sqnr_db(expected, run(smoothed, feeds)[0]) > sqnr_db(expected, run(plain, feeds)[0]) + 0.5


def test_alike_channels_are_left_alone() -> None:
    assert count(convert(normalized(True, np.ones(64, np.float32))).model, "Mul") == 0


def test_the_input_stays_unchanged_and_the_result_is_deterministic() -> None:
    source = prepared(conv_net(size=8, channels=16))
    before = ir.to_proto(source).SerializeToString(deterministic=True)
    first, second = (quantize_dynamically(source, load_target()).model for _ in range(2))
    assert ir.to_proto(source).SerializeToString(deterministic=True) == before
    assert ir.to_proto(first).SerializeToString(deterministic=True) == ir.to_proto(second).SerializeToString(
        deterministic=True
    )
