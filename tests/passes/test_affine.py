import numpy as np
import pytest

from tests.passes.build import build, draw, positive, rewrite, untouched
from xslim.passes.rules import affine

COMPUTE = {
    "Conv": (
        "float[2,6,7,7] x",
        "h = Conv <group = 2, pads = [1, 1, 1, 1]> (x, w, b)",
        {"w": draw(8, 3, 3, 3), "b": draw(8)},
        (8, 1, 1),
    ),
    "Conv without bias": (
        "float[2,6,7,7] x",
        "h = Conv <strides = [2, 2]> (x, w)",
        {"w": draw(8, 6, 3, 3)},
        (8, 1, 1),
    ),
    "Conv1d": ("float[2,6,7] x", "h = Conv (x, w)", {"w": draw(8, 6, 3)}, (1, 8, 1)),
    "ConvTranspose": (
        "float[2,6,5,5] x",
        "h = ConvTranspose <group = 2, strides = [2, 2]> (x, w, b)",
        {"w": draw(6, 4, 2, 2), "b": draw(8)},
        (8, 1, 1),
    ),
    "Gemm": (
        "float[3,6] x",
        "h = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, w, b)",
        {"w": draw(8, 6), "b": draw(8)},
        (8,),
    ),
    "Gemm without bias": ("float[3,6] x", "h = Gemm (x, w)", {"w": draw(6, 8)}, (1, 8)),
    "MatMul": ("float[2,3,6] x", "h = MatMul (x, w)", {"w": draw(6, 8)}, (8,)),
    "MatMul with bias": (
        "float[2,3,6] x",
        "p = MatMul (x, w) h = Add (p, b)",
        {"w": draw(6, 8), "b": draw(8)},
        (8,),
    ),
    "MatMul with bias first": (
        "float[2,3,6] x",
        "p = MatMul (x, w) h = Add (b, p)",
        {"w": draw(6, 8), "b": draw(8)},
        (1, 1, 8),
    ),
}
AFFINE = {
    "Mul": "y = Mul (h, c)",
    "Mul, constant first": "y = Mul (c, h)",
    "Div": "y = Div (h, c)",
    "Add": "y = Add (c, h)",
    "Sub": "y = Sub (h, c)",
    "Sub from constant": "y = Sub (c, h)",
}


@pytest.mark.parametrize("follower", AFFINE)
@pytest.mark.parametrize("compute", COMPUTE)
def test_a_constant_per_channel_goes_into_weight_and_bias(compute, follower):
    x, nodes, weights, shape = COMPUTE[compute]
    proto = build(f"g ({x}) => (float[] y) {{ {nodes} {AFFINE[follower]} }}", **weights, c=positive(*shape))
    found = rewrite(proto, affine.rules)
    if compute == "MatMul" and "Mul" not in follower and "Div" not in follower:
        assert found == {"MatMul": 1, follower.split()[0].rstrip(","): 1}, (
            "a product has no bias to put it in"
        )
    else:
        name = compute.split()[0].rstrip("1d")
        assert found == {name: 1, **({"Add": 1} if "MatMul with" in compute else {})}


@pytest.mark.parametrize("compute", ["Conv", "Conv without bias", "Conv1d", "ConvTranspose", "Gemm"])
def test_batch_norm_folds(compute):
    x, nodes, weights, _ = COMPUTE[compute]
    proto = build(
        f"g ({x}) => (float[] y) {{ {nodes} y = BatchNormalization <epsilon = 0.01> (h, s, t, m, v) }}",
        **weights,
        s=draw(8, seed=1),
        t=draw(8, seed=2),
        m=draw(8, seed=3),
        v=positive(8),
    )
    assert rewrite(proto, affine.rules) == {compute.split()[0].rstrip("1d"): 1}


def test_batch_norm_after_a_product_of_matrices_leaves_a_sum():
    proto = build(
        "g (float[3,6] x) => (float[] y) { h = MatMul (x, w) y = BatchNormalization (h, s, t, m, v) }",
        w=draw(6, 8),
        s=draw(8, seed=1),
        t=draw(8, seed=2),
        m=draw(8, seed=3),
        v=positive(8),
    )
    assert rewrite(proto, affine.rules) == {"MatMul": 1, "Add": 1}


def test_a_chain_of_followers_folds_into_one_operator():
    proto = build(
        """g (float[1,3,6,6] x) => (float[] y) {
            a = Conv (x, w) b = BatchNormalization (a, s, t, m, v) c = Mul (b, k)
            d = Add (c, n) y = Sub (two, d)
        }""",
        w=draw(4, 3, 3, 3),
        s=draw(4, seed=1),
        t=draw(4, seed=2),
        m=draw(4, seed=3),
        v=positive(4),
        k=draw(1, 4, 1, 1),
        n=draw(4, 1, 1),
        two=np.array(2, np.float32),
    )
    assert rewrite(proto, affine.rules) == {"Conv": 1}


REFUSALS = {
    "the constant varies along the width": ("y = Mul (h, c)", {"c": draw(6)}),
    "the constant varies along channels and width": ("y = Add (h, c)", {"c": draw(8, 6, 6)}),
    "broadcasting enlarges the result": ("y = Mul (h, c)", {"c": draw(2, 1, 8, 1, 1)}),
    "the constant is divided": ("y = Div (c, h)", {"c": positive(8, 1, 1)}),
    "division by zero": ("y = Div (h, c)", {"c": np.array([0, 1] * 4, np.float32).reshape(8, 1, 1)}),
    "the scale overflows": ("y = Mul (h, c)", {"c": np.full((8, 1, 1), 3e38, np.float32)}),
    "the other operand is computed": ("c = Sigmoid (h) y = Mul (h, c)", {}),
    "the result is read elsewhere": (
        "a = Mul (h, c) r = Relu (h) y = Concat <axis = 1> (a, r)",
        {"c": draw(8, 1, 1)},
    ),
}


@pytest.mark.parametrize("reason", REFUSALS)
def test_refuses_when(reason):
    nodes, weights = REFUSALS[reason]
    text = f"g (float[1,3,8,8] x) => (float[] y) {{ h = Conv (x, w) {nodes} }}"
    assert untouched(build(text, w=draw(8, 3, 3, 3) * 100, **weights), affine.rules)


def test_refuses_when_the_intermediate_is_an_output():
    proto = build(
        "g (float[1,3,8,8] x) => (float[] h, float[] y) { h = Conv (x, w) y = Mul (h, c) }",
        w=draw(8, 3, 3, 3),
        c=draw(8, 1, 1),
    )
    assert untouched(proto, affine.rules)


def test_shared_weights_stay_shared_but_each_bias_is_its_own():
    text = "g (float[1,3,8,8] x, float[1,3,8,8] z) => (float[] y, float[] u) {{ {} }}"
    scaled = build(
        text.format("a = Conv (x, w) b = Conv (z, w) y = Mul (a, c) u = Relu (b)"),
        w=draw(8, 3, 3, 3),
        c=draw(8, 1, 1),
    )
    assert rewrite(scaled, affine.rules)["Mul"] == 1
    shifted = build(
        text.format("a = Conv (x, w) b = Conv (z, w) y = Add (a, c) u = Relu (b)"),
        w=draw(8, 3, 3, 3),
        c=draw(8, 1, 1),
    )
    assert rewrite(shifted, affine.rules) == {"Conv": 2, "Relu": 1}


def test_training_batch_norm_stays():
    proto = build(
        """g (float[2,3,8,8] x) => (float[] y, float[] mean, float[] var) {
            h = Conv (x, w) y, mean, var = BatchNormalization <training_mode = 1> (h, s, t, m, v)
        }""",
        w=draw(8, 3, 3, 3),
        s=draw(8),
        t=draw(8),
        m=draw(8),
        v=positive(8),
    )
    assert untouched(proto, affine.rules)


def test_half_precision_weights_stay_half_precision():
    proto = build(
        "g (float16[1,3,6,6] x) => (float16[] y) { h = Conv (x, w) y = Mul (h, c) }",
        w=draw(4, 3, 3, 3).astype(np.float16),
        c=positive(4, 1, 1).astype(np.float16),
    )
    assert rewrite(proto, affine.rules, tolerance=5e-3) == {"Conv": 1}
