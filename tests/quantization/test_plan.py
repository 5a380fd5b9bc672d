"""Tests of the plan: which operators become int8, and why."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from tests import models
from tests.quantization.build import (
    graph,
    int8,
    normal,
    observed,
    plan_of,
    prepared,
    quantise,
    reason,
    run,
    sqnr,
    tensors,
)
from xslim.quantization.protected import seen_masks

ATTENTION = """(float[1,6,8] x) => (float[1,6,8] y) {
    q = MatMul(x, wq)
    k = MatMul(x, wk)
    v = MatMul(x, wv)
    kt = Transpose<perm = [0, 2, 1]>(k)
    scores = MatMul(q, kt)
    probabilities = Softmax<axis = -1>(scores)
    mixed = MatMul(probabilities, v)
    out = MatMul(mixed, wo)
    sum = Add(x, out)
    norm = LayerNormalization<axis = -1>(sum, gain)
    y = MatMul(norm, wf)
}"""


def attention_weights() -> dict[str, np.ndarray]:
    names = ("wq", "wk", "wv", "wo", "wf")
    return {name: normal(seed, 8, 8, scale=0.5) for seed, name in enumerate(names)} | {
        "gain": np.ones(8, np.float32)
    }


def test_a_convolution_and_its_relu_have_one_quantiser() -> None:
    plan = plan_of(prepared(models.conv_net()))
    assert reason(plan, "relu1") == "applied by conv1"
    assert "c1" not in tensors(plan)
    assert {"x", "r1", "p1", "r2"} <= tensors(plan)


def test_a_relu_behind_a_float_convolution_is_float_too() -> None:
    model = prepared(models.conv_net())
    plan = plan_of(model, names=["conv1"])
    assert reason(plan, "relu1") == "its input is float"
    assert "c1" not in tensors(plan)
    assert "r1" in tensors(plan)


def test_passive_operators_share_the_parameters_of_their_input() -> None:
    plan = plan_of(prepared(models.conv_net()))
    (group,) = [group for group in plan.groups if "r1" in group.tensors]
    assert group.tensors == ("r1", "p1")
    assert group.observed == ("r1",)


def test_the_last_product_leaves_its_sums_in_float() -> None:
    plan = plan_of(prepared(models.conv_net()))
    assert "fc" in int8(plan)
    assert "y" not in tensors(plan)


def test_a_convolution_always_has_an_output_quantiser() -> None:
    plan = plan_of(prepared(models.depthwise_net()))
    assert "y" in tensors(plan)


def test_a_bias_behind_a_product_stays_float_and_has_no_quantiser_of_its_own() -> None:
    text = """(float[1,3,4] x) => (float[1,3,4] y) {
        m = MatMul(x, w)
        a = Add(b, m)
        r = Relu(a)
        y = MatMul(r, v)
    }"""
    weights = {"w": normal(1, 4, 4), "v": normal(2, 4, 4), "b": normal(3, 4)}
    plan = plan_of(prepared(graph(text, weights)))
    assert reason(plan, "a") == reason(plan, "r") == "applied by m"
    assert {constant.tensor for constant in plan.constants} == {"w", "v"}
    assert tensors(plan) == {"x", "r"}


def test_weights_are_per_output_channel() -> None:
    text = """(float[1,4,5] x, float[2,4] z) => (float[1,6,3] y, float[2,6] g, float[2,6] h, float[1,5,9] t) {
        y = Conv<kernel_shape = [3]>(x, conv)
        g = Gemm(z, gemm)
        h = Gemm<transB = 1>(z, turned)
        t = ConvTranspose<kernel_shape = [5], group = 1>(x, transposed)
    }"""
    weights = {
        "conv": normal(1, 6, 4, 3),
        "gemm": normal(2, 4, 6),
        "turned": normal(3, 6, 4),
        "transposed": normal(4, 4, 5, 5),
    }
    plan = plan_of(prepared(graph(text, weights)))
    axes = {constant.tensor: constant.axis for constant in plan.constants}
    assert axes == {"conv": 0, "gemm": 1, "turned": 0, "transposed": 1}


def test_a_grouped_transposed_convolution_has_one_scale() -> None:
    text = "(float[1,4,5] x) => (float[1,4,7] y) { y = ConvTranspose<kernel_shape = [3], group = 2>(x, w) }"
    (constant,) = plan_of(prepared(graph(text, {"w": normal(1, 4, 2, 3)}))).constants
    assert constant.axis is None


def test_a_batch_of_weight_matrices_has_one_scale() -> None:
    text = "(float[2,3,4] x) => (float[2,3,5] y) { y = MatMul(x, w) }"
    (constant,) = plan_of(prepared(graph(text, {"w": normal(1, 2, 4, 5)}))).constants
    assert constant.axis is None
    assert constant.symmetric


def test_a_shared_weight_is_stored_once_and_one_read_along_two_axes_twice() -> None:
    text = """(float[2,4] x) => (float[2,4] y) {
        a = Gemm(x, w)
        b = Gemm(a, w)
        y = Gemm<transB = 1>(b, w)
    }"""
    plan = plan_of(prepared(graph(text, {"w": normal(1, 4, 4)})))
    assert [(constant.axis, constant.readers) for constant in plan.constants] == [
        (1, ("a", "b")),
        (0, ("y",)),
    ]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_convolutions_of_any_rank_up_to_three_are_int8(rank: int) -> None:
    dims = ",".join(["6"] * rank)
    kernel = [3] * rank
    text = f"(float[1,2,{dims}] x) => (float y) {{ y = Conv<kernel_shape = {kernel}>(x, w) }}"
    plan = plan_of(prepared(graph(text, {"w": normal(1, 3, 2, *kernel)})))
    assert int8(plan) == {"y"}


def test_a_transposed_convolution_in_three_dimensions_is_refused_with_the_reason() -> None:
    text = "(float[1,2,4,4,4] x) => (float y) { y = ConvTranspose<kernel_shape = [3, 3, 3]>(x, w) }"
    plan = plan_of(prepared(graph(text, {"w": normal(1, 2, 3, 3, 3, 3)})))
    assert reason(plan, "y") == "spacemit needs kernel_shape of at most 2 dimensions, here it has 3"


def test_recurrent_layers_stay_float() -> None:
    text = """(float[5,1,4] x) => (float[5,1,6] y) {
        h = MatMul(x, w)
        r = Relu(h)
        g = GRU<hidden_size = 6>(r, wx, wh)
        s = Squeeze(g, axes)
        y = MatMul(s, v)
    }"""
    weights = {
        "w": normal(1, 4, 3),
        "wx": normal(2, 1, 18, 3),
        "wh": normal(3, 1, 18, 6),
        "v": normal(4, 6, 6),
        "axes": np.array([1], np.int64),
    }
    plan = plan_of(prepared(graph(text, weights)))
    assert "g" not in int8(plan)
    assert {"h", "y"} <= int8(plan)


def test_control_flow_is_left_alone() -> None:
    text = """(float[2,4] x, bool c) => (float[2,4] y) {
        a = Gemm(x, w)
        y = If(c) <
            then_branch = yes () => (float[2,4] t) { t = Gemm(a, w) },
            else_branch = no () => (float[2,4] e) { e = Relu(a) }
        >
    }"""
    model = prepared(graph(text, {"w": normal(1, 4, 4)}))
    plan = plan_of(model)
    assert int8(plan) == {"a"}
    feeds = [{"x": normal(2, 2, 4), "c": np.array(value)} for value in (True, False)]
    proto, _ = quantise(model, plan, feeds)
    inner = [node.op_type for node in proto.graph.node if node.op_type == "If"]
    assert inner == ["If"]
    for item in feeds:
        (expected,), (found,) = run(graph(text, {"w": normal(1, 4, 4)}), item), run(proto, item)
        assert sqnr(expected, found) > 25


def test_residual_sums_are_int8_and_the_shared_tensor_has_one_quantiser() -> None:
    plan = plan_of(prepared(models.residual_net()))
    assert reason(plan, "sum") == "nothing after it computes in int8"
    text = """(float[1,4,6,6] x) => (float[1,4,6,6] y) {
        a = Conv<kernel_shape = [1, 1]>(x, w)
        b = Conv<kernel_shape = [1, 1]>(a, w)
        s = Add(a, b)
        r = Relu(s)
        y = Conv<kernel_shape = [1, 1]>(r, w)
    }"""
    plan = plan_of(prepared(graph(text, {"w": normal(1, 4, 4, 1, 1)})))
    assert int8(plan) == {"a", "b", "s", "r", "y"}
    assert reason(plan, "r") == "applied by s"
    assert tensors(plan) == {"x", "a", "b", "r", "y"}


def test_levels_are_nested_and_differ_on_a_transformer() -> None:
    model = prepared(graph(ATTENTION, attention_weights()))
    level0, level1, level2 = (int8(plan_of(model, level)) for level in (0, 1, 2))
    assert level2 < level1 < level0
    assert {"probabilities", "norm"} <= level0 - level1
    assert {"scores", "mixed"} <= level1 - level2
    assert {"q", "k", "v", "out", "y"} <= level2


def test_a_normalisation_reads_float() -> None:
    plan = plan_of(prepared(graph(ATTENTION, attention_weights())))
    assert "norm" in tensors(plan)
    assert not {"sum", "out"} & tensors(plan)


def test_known_output_ranges_are_observed_as_well() -> None:
    plan = plan_of(prepared(graph(ATTENTION, attention_weights())))
    (group,) = [group for group in plan.groups if "probabilities" in group.tensors]
    assert group.fixed_range == (0.0, 1.0)
    assert group.observed == ("probabilities",)


def test_a_quotient_by_a_tensor_stays_float() -> None:
    text = """(float[2,4] x, float[2,4] d) => (float[2,4] y) {
        a = Gemm(x, w)
        q = Div(a, d)
        c = Div(q, two)
        y = Gemm(c, w)
    }"""
    plan = plan_of(prepared(graph(text, {"w": normal(1, 4, 4), "two": np.float32(2)})))
    assert reason(plan, "q") == "for int8, spacemit needs a constant as input 1"


def test_shape_arithmetic_is_never_quantised() -> None:
    text = """(float[N,4] x) => (float[N,4] y) {
        s = Shape(x)
        f = Cast<to = 1>(s)
        h = Mul(f, half)
        t = Add(h, half)
        n = ReduceMean<keepdims = 0>(t)
        g = Gemm(x, w)
        y = Mul(g, n)
    }"""
    plan = plan_of(prepared(graph(text, {"w": normal(1, 4, 4), "half": np.float32(0.5)})))
    assert not {"f", "h", "t", "n"} & tensors(plan)
    assert int8(plan) == {"g"}


CAPTURED = {
    "Loop": "v = Loop(trips, on) <body = b (int64 i, bool c) => (bool d, float[1,4] p) "
    "{ d = Identity(c)  p = Relu(x) }>  u = Squeeze(v, zero)",
    "If": "u = If(flag) <then_branch = t () => (float[1,4] p) { p = Relu(x) }, "
    "else_branch = e () => (float[1,4] q) { q = Neg(x) }>",
    "If in a Loop": "v = Loop(trips, on) <body = b (int64 i, bool c) => (bool d, float[1,4] p) "
    "{ d = Identity(c)  p = If(c) <then_branch = t () => (float[1,4] r) { r = Relu(x) }, "
    "else_branch = e () => (float[1,4] q) { q = Neg(x) }> }>  u = Squeeze(v, zero)",
}


@pytest.mark.parametrize("name", CAPTURED)
def test_data_that_a_body_takes_from_outside_are_data(name: str) -> None:
    text = (
        "(float[1,4] x) => (float[1,2] y) { shape = Shape(x)  trips = Gather(shape, first) "
        f"flag = Equal(trips, one)  {CAPTURED[name]}  y = MatMul(u, w) }}"
    )
    numbers = {"first": np.array(0), "one": np.array(1), "on": np.array(True), "zero": np.array([0])}
    proto = graph(text, {"w": normal(1, 4, 2), **numbers}, opset=13)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    assert reason(plan_of(prepared(proto)), "y") == "int8"


def test_integer_and_boolean_tensors_are_never_quantised() -> None:
    plan = plan_of(prepared(models.token_net()))
    assert int8(plan) == {"matmul", "relu"}
    assert tensors(plan) == {"e"}


def test_an_empty_tensor_is_never_quantised() -> None:
    text = """(float[0,4] x, float[2,4] z) => (float[0,4] y, float[2,4] v) {
        y = Gemm(x, w)
        v = Gemm(z, w)
    }"""
    plan = plan_of(prepared(graph(text, {"w": normal(1, 4, 4)})))
    assert reason(plan, "y") == "it has an empty tensor"
    assert int8(plan) == {"v"}


def test_ignore_lists_win_and_take_patterns() -> None:
    model = prepared(models.conv_net())
    plan = plan_of(model, types=["Gemm"], names=["conv?"])
    assert reason(plan, "fc") == "listed in ignore_op_types"
    assert reason(plan, "conv1") == reason(plan, "conv2") == "listed in ignore_op_names"


def test_an_ignored_activation_is_not_absorbed() -> None:
    plan = plan_of(prepared(models.conv_net()), names=["relu1"])
    assert "c1" in tensors(plan)
    assert "relu1" not in int8(plan)


def test_a_name_that_matches_nothing_is_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        plan_of(prepared(models.conv_net()), names=["conv11"])
    assert "'conv11', did you mean 'conv1'?" in caplog.text


MASKED = """(float[1,6,8] x, float[1,1,6] m) => (float[1,6,8] y) {
    q = MatMul(x, wq)
    k = MatMul(x, wk)
    kt = Transpose<perm = [0, 2, 1]>(k)
    scores = MatMul(q, kt)
    MASK
    masked = Add(scores, mask)
    probabilities = Softmax<axis = -1>(masked)
    mixed = MatMul(probabilities, x)
    y = MatMul(mixed, wo)
}"""


@pytest.mark.parametrize(
    ("text", "constants"),
    [
        ("mask = Identity(fill)", {"fill": np.array([[[0, 0, 0, 0, 0, -np.inf]]], np.float32)}),
        ("i = Sub(one, m) mask = Mul(i, low)", {"one": np.float32(1), "low": np.float32(-1e4)}),
        (
            "i = Sub(one, m) mask = Mul(i, low)",
            {"one": np.float32(1), "low": np.finfo(np.float32).min},
        ),
        (
            "b = Cast<to = 9>(m) mask = Where(b, zero, low)",
            {"zero": np.float32(0), "low": np.float32(-1e9)},
        ),
        ("mask = Identity(fill)", {"fill": np.array([[[0, 0, -100, 0, 0, -100]]], np.float32)}),
    ],
    ids=["minus infinity", "minus ten thousand", "float minimum", "where", "window mask"],
)
def test_a_mask_is_never_quantised(text: str, constants: dict[str, np.ndarray]) -> None:
    weights = {name: normal(seed, 8, 8) for seed, name in enumerate(("wq", "wk", "wo"))} | constants
    plan = plan_of(prepared(graph(MASKED.replace("MASK", text), weights)))
    assert not {"mask", "masked", "i"} & tensors(plan)
    assert {"probabilities", "mixed"} <= tensors(plan)
    assert {"q", "k", "scores", "mixed", "y"} <= int8(plan)


def test_an_offset_is_no_mask() -> None:
    text = """(float[2,4] x) => (float[2,4] y) {
        a = Gemm(x, w)
        b = Add(a, offset)
        r = Sigmoid(b)
        y = Gemm(r, w)
    }"""
    weights = {"w": normal(1, 4, 4), "offset": np.array([-100, 20, 0, 1], np.float32)}
    assert "b" in tensors(plan_of(prepared(graph(text, weights))))


def test_padding_with_minus_infinity_ends_at_the_pooling() -> None:
    text = """(float[1,2,4,4] x) => (float[1,2,3,3] y) {
        a = Conv<kernel_shape = [1, 1]>(x, w)
        p = Pad(a, pads, fill)
        m = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(p)
        y = Conv<kernel_shape = [1, 1]>(m, w)
    }"""
    weights = {
        "w": normal(1, 2, 2, 1, 1),
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "fill": np.float32(-np.inf),
    }
    plan = plan_of(prepared(graph(text, weights)))
    assert "p" not in tensors(plan)
    assert {"m", "y"} <= tensors(plan)


def test_a_mask_that_only_calibration_sees_is_found() -> None:
    model = prepared(graph(MASKED.replace("MASK", "mask = Neg(m)"), attention_weights()))
    plan = plan_of(model)
    infinite = {"x": normal(1, 1, 6, 8), "m": np.array([[[0, 0, 0, 0, 0, np.inf]]], np.float32)}
    finite = {"x": normal(1, 1, 6, 8), "m": np.array([[[0, 0, 0, 0, 0, 1e38]]], np.float32)}
    for feeds in (infinite, finite):
        masks = seen_masks(observed(model, plan.observed, [feeds]))
        assert masks & {"m", "mask", "masked"}
        again = plan_of(model, masks=sorted(masks))
        assert not {"m", "mask", "masked"} & tensors(again)
        assert not seen_masks(observed(model, again.observed, [feeds]))


def test_data_that_only_moves_is_quantised_before_it_moves() -> None:
    text = """(float[1,6,6,4] x) => (float[1,3,6,6] y) {
        t = Transpose<perm = [0, 3, 1, 2]>(x)
        y = Conv<kernel_shape = [1, 1]>(t, w)
    }"""
    plan = plan_of(prepared(graph(text, {"w": normal(1, 3, 4, 1, 1)})))
    assert plan.groups[0].tensors == ("x", "t")


def test_data_that_somebody_needs_in_float_is_quantised_after_it_moved() -> None:
    text = """(float[1,6,6,4] x) => (float[1,3,6,6] y, float[1,4,6,6] z) {
        t = Transpose<perm = [0, 3, 1, 2]>(x)
        y = Conv<kernel_shape = [1, 1]>(t, w)
        z = Sin(t)
    }"""
    plan = plan_of(prepared(graph(text, {"w": normal(1, 3, 4, 1, 1)})))
    assert "x" not in tensors(plan)
    assert "t" in tensors(plan)
    assert reason(plan, "t") == "its input is float"


def test_the_generic_target_leaves_what_onnxruntime_has_no_kernel_for() -> None:
    text = """(float[2,4] x) => (float[2,4] y) {
        a = Gemm(x, w)
        t = Tanh(a)
        y = Gemm(t, w)
    }"""
    model = prepared(graph(text, {"w": normal(1, 4, 4)}))
    assert "t" in int8(plan_of(model))
    assert "t" not in int8(plan_of(model, target="generic"))
