"""The exported model has the expected structure, and its results equal those of numpy."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import xslim
from tests import models
from tests.quantization.build import (
    NETS,
    exported,
    feeds_of,
    graph,
    normal,
    plan_of,
    prepared,
    quantise,
    run,
    sqnr,
)
from xslim.errors import ModelError
from xslim.export.qdq import needed_opset
from xslim.graph.scheme import QuantParams
from xslim.kernels import fake_quantize
from xslim.targets import load_target


def images(count: int = 4) -> list[dict[str, np.ndarray]]:
    return [{"x": normal(seed, 1, 3, 8, 8)} for seed in range(count)]


def fake(values: np.ndarray, params: QuantParams) -> np.ndarray:
    return fake_quantize(values.astype(np.float32), params.scale, params.zero_point, axis=params.axis)


def test_the_arithmetic_is_that_of_the_parameters() -> None:
    text = """(float[3,4] x) => (float[3,5] y) {
        a = Gemm(x, w, b)
        r = Relu(a)
        y = Gemm(r, v)
    }"""
    weights = {"w": normal(1, 4, 6), "b": normal(2, 6), "v": normal(3, 6, 5)}
    model = prepared(graph(text, weights))
    feeds = [{"x": normal(seed, 3, 4)} for seed in range(4)]
    proto, found = quantise(model, plan_of(model), feeds)
    constants = {item.tensor: value for item, value in found.constants.items()}
    restored = {
        name: value.values * value.params.scale.astype(np.float32)[None, :]
        for name, value in constants.items()
    }
    for item in feeds:
        x = fake(item["x"], found.activations["x"])
        r = fake(np.maximum(x @ restored["w"] + weights["b"], 0), found.activations["r"])
        np.testing.assert_allclose(run(proto, item)[0], r @ restored["v"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("make", NETS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("target", ["spacemit", "generic"])
def test_the_model_keeps_its_outside_and_stays_close(make, target: str) -> None:
    proto = make()
    model = prepared(proto)
    feeds = feeds_of(proto)
    result, _ = quantise(model, plan_of(model, target=target), feeds, target)
    assert [value.name for value in result.graph.input] == [value.name for value in proto.graph.input]
    assert [value.name for value in result.graph.output] == [value.name for value in proto.graph.output]
    assert result.graph.output[0].type == proto.graph.output[0].type
    for item in feeds:
        assert sqnr(run(proto, item)[0], run(result, item)[0]) > 25


def test_every_tensor_has_one_pair_however_many_readers() -> None:
    text = """(float[1,4,6,6] x) => (float[1,4,6,6] y) {
        a = Conv<kernel_shape = [1, 1]>(x, w)
        b = Conv<kernel_shape = [1, 1]>(a, v)
        s = Add(a, b)
        t = Add(s, a)
        y = Conv<kernel_shape = [1, 1]>(t, w)
    }"""
    model = prepared(graph(text, {"w": normal(1, 4, 4, 1, 1), "v": normal(2, 4, 4, 1, 1)}))
    plan = plan_of(model)
    result, found = quantise(model, plan, [{"x": normal(1, 1, 4, 6, 6)}])
    counts = Counter(node.op_type for node in result.graph.node)
    assert counts["QuantizeLinear"] == len(found.activations) == 6
    # One DequantizeLinear per tensor, and one per stored weight: `w` is shared.
    assert counts["DequantizeLinear"] == 6 + 2
    sources = Counter(node.input[0] for node in result.graph.node if node.op_type == "QuantizeLinear")
    assert max(sources.values()) == 1


def test_an_activation_is_removed_where_saturation_replaces_it() -> None:
    model = prepared(models.depthwise_net())
    result, found = quantise(model, plan_of(model), [{"x": normal(1, 1, 3, 8, 8, scale=4)}])
    assert not [node for node in result.graph.node if node.op_type == "Clip"]
    low, high = found.activations["k1"].span
    assert low == 0
    assert high <= 6.001


def test_an_activation_stays_where_it_is_not_replaced() -> None:
    proto = models.depthwise_net()
    model = prepared(proto)
    plan = plan_of(model)
    feeds = [{"x": normal(1, 1, 3, 8, 8, scale=4)}]
    _, found = quantise(model, plan, feeds)
    wide = QuantParams(np.float32(0.1), np.int8(0))
    changed = type(found)({**found.activations, "k1": wide}, found.constants)
    result = exported(model, plan, changed, load_target())
    assert [node.name for node in result.graph.node if node.op_type == "Clip"] == ["clip1"]
    assert sqnr(run(proto, feeds[0])[0], run(result, feeds[0])[0]) > 15


def test_a_tensor_that_float_operators_write_stays_float_for_float_readers() -> None:
    text = """(float[2,4] x) => (float[2,4] y, float[2,4] z) {
        s = Sin(x)
        y = Gemm(s, w)
        z = Cos(s)
    }"""
    model = prepared(graph(text, {"w": normal(1, 4, 4)}))
    feeds = {"x": normal(2, 2, 4)}
    result, _ = quantise(model, plan_of(model), [feeds])
    np.testing.assert_array_equal(run(result, feeds)[1], np.cos(np.sin(feeds["x"])).astype(np.float32))


def test_an_output_that_is_read_inside_as_well_exists_only_in_int8() -> None:
    text = """(float[1,4,6,6] x) => (float[1,4,6,6] a, float[1,4,6,6] y) {
        a = Conv<kernel_shape = [1, 1]>(x, w)
        y = Conv<kernel_shape = [1, 1]>(a, w)
    }"""
    model = prepared(graph(text, {"w": normal(1, 4, 4, 1, 1)}))
    feeds = {"x": normal(2, 1, 4, 6, 6)}
    result, found = quantise(model, plan_of(model), [feeds])
    first = run(result, feeds)[0]
    np.testing.assert_array_equal(first, fake(first, found.activations["a"]))


def test_names_that_are_taken_are_left_to_their_owners() -> None:
    text = """(float[2,4] x_quantized) => (float[2,4] y) {
        x_quantized_quantized = Sin(x_quantized)
        a = Gemm(x_quantized_quantized, x_scale)
        y = Gemm(a, x_scale)
    }"""
    model = prepared(graph(text, {"x_scale": normal(1, 4, 4)}))
    feeds = {"x_quantized": normal(2, 2, 4)}
    result, _ = quantise(model, plan_of(model), [feeds])
    names = [name for node in result.graph.node for name in node.output]
    names += [item.name for item in result.graph.initializer]
    assert len(names) == len(set(names))
    assert sqnr(run(graph(text, {"x_scale": normal(1, 4, 4)}), feeds)[0], run(result, feeds)[0]) > 25


def test_a_constant_with_two_forms_is_stored_twice() -> None:
    text = """(float[4,4] x) => (float[4,4] y) {
        a = Gemm(x, w)
        s = Add(a, w)
        y = Gemm<transB = 1>(s, w)
    }"""
    weights = {"w": normal(1, 4, 4)}
    model = prepared(graph(text, weights))
    feeds = {"x": normal(2, 4, 4)}
    result, found = quantise(model, plan_of(model), [feeds])
    assert len(found.constants) == 3
    assert sqnr(run(graph(text, weights), feeds)[0], run(result, feeds)[0]) > 25


def test_symbolic_and_unknown_shapes() -> None:
    text = """(float[N,C] x, int64[2] shape) => (float[A,B] y) {
        r = Reshape(x, shape)
        a = MatMul(r, w)
        y = Relu(a)
    }"""
    weights = {"w": normal(1, 4, 4)}
    model = prepared(graph(text, weights))
    feeds = {"x": normal(2, 6, 2), "shape": np.array([3, 4])}
    result, _ = quantise(model, plan_of(model), [feeds])
    assert sqnr(run(graph(text, weights), feeds)[0], run(result, feeds)[0]) > 25


def test_half_precision_models_have_half_precision_scales() -> None:
    text = """(float16[2,4] x) => (float16[2,4] y) {
        a = Gemm(x, w)
        r = Relu(a)
        y = Gemm(r, w)
    }"""
    weights = {"w": normal(1, 4, 4).astype(np.float16)}
    proto = graph(text, weights, opset=19)
    model = prepared(proto)
    assert needed_opset(model) == 19
    feeds = {"x": normal(2, 2, 4).astype(np.float16)}
    result, _ = quantise(model, plan_of(model), [feeds])
    scales = {item.name: item.data_type for item in result.graph.initializer if item.name.endswith("_scale")}
    assert set(scales.values()) == {onnx.TensorProto.FLOAT16}
    assert sqnr(run(proto, feeds)[0], run(result, feeds)[0]) > 20


def test_half_precision_in_an_old_opset_is_raised_by_a_run_and_refused_by_the_export(tmp_path) -> None:
    text = "(float16[2,4] x) => (float16[2,4] y) { a = Gemm(x, w) r = Relu(a) y = Gemm(r, w) }"
    proto = graph(text, {"w": normal(1, 4, 4).astype(np.float16)}, opset=17)
    model = prepared(proto)
    feeds = {"x": normal(2, 2, 4).astype(np.float16)}
    with pytest.raises(ModelError, match="needs opset 19, not 17"):
        quantise(model, plan_of(model), [feeds])
    np.save(tmp_path / "x.npy", feeds["x"])
    (tmp_path / "list.txt").write_text("x.npy\n", "utf-8")
    entry = {"file_type": "npy", "data_list_path": str(tmp_path / "list.txt")}
    config = {
        "model_parameters": {"working_dir": str(tmp_path)},
        "calibration_parameters": {"input_parametres": [entry]},
        "quantization_parameters": {"finetune_level": 0, "analysis_enable": False},
    }
    result = xslim.quantize_onnx_model(config, proto)
    assert {item.domain: item.version for item in result.opset_import}[""] == 19
    assert sqnr(run(proto, feeds)[0], run(result, feeds)[0]) > 20


def test_the_generic_target_stores_the_same_numbers_without_sign() -> None:
    model = prepared(models.residual_net())
    plan = plan_of(model)
    feeds = images()
    signed, _ = quantise(model, plan, feeds)
    unsigned, _ = quantise(model, plan, feeds, "generic")
    for item in feeds:
        np.testing.assert_array_equal(run(signed, item)[0], run(unsigned, item)[0])
    kinds = {i.data_type for i in unsigned.graph.initializer if i.name.endswith("x_zero_point")}
    assert kinds == {onnx.TensorProto.UINT8}


OPERATORS = ["Conv", "Relu", "Sigmoid", "Add", "Mul", "MaxPool", "Concat", "Transpose", "Sin", "Softmax"]


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_random_graphs_keep_the_invariants(data: st.DataObject) -> None:
    """Whatever the graph and the level: it runs, is close, and no tensor is quantised twice."""
    names, lines, weights = ["x"], [], {"w": normal(1, 2, 2, 1, 1)}
    for index in range(data.draw(st.integers(2, 9))):
        op_type, first = data.draw(st.sampled_from(OPERATORS)), data.draw(st.sampled_from(names))
        second, name = data.draw(st.sampled_from(names)), f"t{index}"
        if op_type == "Concat":
            lines += [f"{name}_c = Concat<axis = 1>({first}, {second})"]
            lines += [f"{name} = Slice({name}_c, zero, two, one)"]
        else:
            form = {
                "Conv": f"Conv<kernel_shape = [1, 1]>({first}, w)",
                "Add": f"Add({first}, {second})",
                "Mul": f"Mul({first}, {second})",
                "MaxPool": f"MaxPool<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>({first})",
                "Transpose": f"Transpose<perm = [0, 1, 3, 2]>({first})",
            }
            lines.append(f"{name} = {form.get(op_type, f'{op_type}({first})')}")
        names.append(name)
    weights |= {"zero": np.array([0]), "two": np.array([2]), "one": np.array([1])}
    body = "\n".join([*lines, f"y = Conv<kernel_shape = [1, 1]>({names[-1]}, w)"])
    proto = graph(f"(float[1,2,4,4] x) => (float[1,2,4,4] y) {{ {body} }}", weights)
    model = prepared(proto)
    level = data.draw(st.integers(0, 2))
    feeds = [{"x": normal(seed, 1, 2, 4, 4)} for seed in range(3)]
    plan = plan_of(model, level)
    result, found = quantise(model, plan, feeds)
    quantizers = [node for node in result.graph.node if node.op_type == "QuantizeLinear"]
    assert len({node.input[0] for node in quantizers}) == len(quantizers) == len(found.activations)
    restored = {node.output[0] for node in result.graph.node if node.op_type == "DequantizeLinear"}
    for node in result.graph.node:
        if node.op_type == "Conv":
            assert set(node.input[:2]) <= restored
    assert "y" in plan.int8_operators
    for item in feeds:
        assert np.isfinite(run(result, item)[0]).all()
    first = feeds[0]
    assert sqnr(run(proto, first)[0], run(result, first)[0]) > 8
