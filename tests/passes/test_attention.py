import numpy as np
import pytest

from tests.passes.build import assert_same, build, draw, operators
from xslim.graph.io import load_model, to_proto
from xslim.passes import prepare
from xslim.passes.attention import split_packed_products
from xslim.passes.folding import fold_constants, infer_shapes

INDICES = {"q0": np.array(0), "k1": np.array(1), "v2": np.array(2)}
SWIN = """g (float[2,5,8] x) => (float[] y) {{
    p = MatMul (x, w) a = Add (p, b) r = Reshape (a, s) t = Transpose <perm = [2, 0, 3, 1, 4]> (r)
    q = Gather <axis = 0> (t, q0) k = Gather <axis = 0> (t, k1) v = Gather <axis = 0> (t, v2)
    kt = Transpose <perm = [0, 1, 3, 2]> (k) {scores} c = Softmax (z) y = MatMul (c, v)
}}"""
SCALED_QUERY = "qs = Mul (q, half) z = MatMul (qs, kt)"
SCALED_SCORES = "m = MatMul (q, kt) z = Mul (m, half)"


def swin(scores: str = SCALED_QUERY, **changes):
    weights = {
        "w": draw(8, 24),
        "b": draw(24),
        "s": np.array([2, 5, 3, 2, 4]),
        "half": np.array(0.5, np.float32),
    }
    return build(SWIN.format(scores=scores), **(weights | INDICES | changes))


def taken_apart(proto):
    model = load_model(proto)
    infer_shapes(model)
    fold_constants(model)
    made = split_packed_products(model)
    fold_constants(model)
    assert_same(proto, to_proto(model))
    return made, operators(model)


@pytest.mark.parametrize("scores", [SCALED_QUERY, SCALED_SCORES])
def test_query_key_and_value_get_products_of_their_own_and_the_scale_goes_into_one(scores):
    proto = swin(scores)
    model = prepare(load_model(proto))
    assert_same(proto, to_proto(model))
    assert operators(model) == {"MatMul": 5, "Add": 3, "Reshape": 3, "Transpose": 3, "Softmax": 1}


def test_added_and_squeezed_axes_are_followed():
    proto = build(
        """g (float[5,2,8] x) => (float[] q, float[] k, float[] v) {
            p = MatMul (x, w) r = Reshape (p, s) u = Unsqueeze (r, first)
            t = Transpose <perm = [3, 1, 2, 0, 4]> (u)
            z = Squeeze (t, third) q = Gather <axis = 0> (z, q0) k = Gather <axis = 0> (z, k1)
            v = Gather <axis = 0> (z, v2)
        }""",
        w=draw(8, 24),
        s=np.array([5, 2, 3, 8]),
        first=np.array([0]),
        third=np.array([3]),
        **INDICES,
    )
    assert taken_apart(proto) == (1, {"MatMul": 3})


def test_a_symbolic_batch_is_no_obstacle():
    proto = build(
        """g (float[N,5,8] x) => (float[] q, float[] k) {
            p = MatMul (x, w) r = Reshape (p, s) t = Transpose <perm = [2, 0, 1, 3]> (r)
            q = Gather <axis = 0> (t, q0) k = Gather <axis = 0> (t, k1)
        }""",
        w=draw(8, 16),
        s=np.array([0, 0, 2, 8]),
        q0=np.array(0),
        k1=np.array(-1),
    )
    assert taken_apart(proto) == (1, {"MatMul": 2})


@pytest.mark.parametrize(
    "proto",
    [
        swin(s=np.array([5, 2, 3, 2, 4])),
        build(
            """g (float[2,5,8] x) => (float[] q) {
                p = MatMul (x, w) r = Reshape (p, s) q = Gather <axis = 2> (r, both)
            }""",
            w=draw(8, 24),
            s=np.array([2, 5, 3, 8]),
            both=np.array([0, 1]),
        ),
        swin(b=draw(5, 24)),
        build(
            """g (float[2,5,8] x) => (float[] q, float[] t) {
                p = MatMul (x, w) r = Reshape (p, s) t = Transpose <perm = [2, 0, 1, 3]> (r)
                q = Gather <axis = 0> (t, q0)
            }""",
            w=draw(8, 24),
            s=np.array([2, 5, 3, 8]),
            q0=np.array(0),
        ),
        build(
            """g (float[2,5,8] x) => (float[] q) {
                p = MatMul (x, w) r = Reshape (p, s) t = Relu (r) q = Gather <axis = 2> (t, q0)
            }""",
            w=draw(8, 24),
            s=np.array([2, 5, 3, 8]),
            q0=np.array(0),
        ),
        build(
            """g (float[2,5,8] x) => (float[] q) {
                p = MatMul (x, w) r = Reshape (p, s) q = Gather <axis = 1> (r, q0)
            }""",
            w=draw(8, 24),
            s=np.array([2, 5, 3, 8]),
            q0=np.array(0),
        ),
    ],
    ids=[
        "rows mixed",
        "not one part",
        "bias per row",
        "read elsewhere",
        "arithmetic between",
        "another axis",
    ],
)
def test_stays_packed(proto):
    assert taken_apart(proto)[0] == 0


def test_shared_weights_stay_packed():
    proto = build(
        """g (float[2,5,8] x) => (float[] q, float[] o) {
            p = MatMul (x, w) r = Reshape (p, s) q = Gather <axis = 2> (r, q0) o = MatMul (x, w)
        }""",
        w=draw(8, 24),
        s=np.array([2, 5, 3, 8]),
        q0=np.array(0),
    )
    assert taken_apart(proto)[0] == 0


@pytest.mark.parametrize(
    "nodes",
    [
        "r = Relu (x) t = Reshape (r, s) y = Mul (t, c)",
        "p = MatMul (x, w) t = Reshape (p, s) m = Mul (t, c) y = Add (m, t)",
    ],
    ids=["no product", "read twice"],
)
def test_a_number_stays_where_nothing_takes_it_in(nodes):
    from xslim.passes.rewriting import apply_rules
    from xslim.passes.rules import movement

    weights = {"w": draw(8, 8)} if "w)" in nodes else {}
    proto = build(
        f"g (float[2,5,8] x) => (float[] y) {{ {nodes} }}",
        s=np.array([10, 8]),
        c=np.array(2, np.float32),
        **weights,
    )
    model = load_model(proto)
    infer_shapes(model)
    assert not apply_rules(model, movement.rules)
