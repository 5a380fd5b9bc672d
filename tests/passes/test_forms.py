import numpy as np
import pytest

from tests.passes.build import assert_same, build, draw, operators, positive, rewrite, untouched
from xslim.graph.io import load_model, to_proto
from xslim.passes.folding import fold_constants, infer_shapes
from xslim.passes.rules import arithmetic, forms, movement
from xslim.passes.splitting import slices_to_split

F32 = np.float32


def scalar(value: float) -> np.ndarray:
    return np.array(value, F32)


def split(proto):
    model = load_model(proto)
    infer_shapes(model)
    fold_constants(model)
    made = slices_to_split(model)
    fold_constants(model)
    after = to_proto(model)
    assert_same(proto, after, tolerance=0)
    return made, operators(model)


def sliced(*bounds: tuple[int, int], axis: int = 1, step: int = 1):
    nodes, weights = [], {"axis": np.array([axis]), "step": np.array([step])}
    for index, (start, end) in enumerate(bounds):
        weights[f"s{index}"], weights[f"e{index}"] = np.array([start]), np.array([end])
        nodes.append(f"p{index} = Slice (x, s{index}, e{index}, axis, step) r{index} = Relu (p{index})")
    names = ", ".join(f"float[] r{index}" for index in range(len(bounds)))
    return build(f"g (float[2,9,5] x) => ({names}) {{ {' '.join(nodes)} }}", **weights)


def test_slices_that_tile_an_axis_become_one_split():
    assert split(sliced((4, 6), (0, 4), (6, 9))) == (1, {"Split": 1, "Relu": 3})
    assert split(sliced((0, -3), (6, 2**63 - 1))) == (1, {"Split": 1, "Relu": 2})


@pytest.mark.parametrize(
    "proto",
    [
        sliced((0, 4), (5, 9)),
        sliced((0, 5), (4, 9)),
        sliced((0, 4), (4, 8)),
        sliced((0, 9), (0, 9), step=2),
        sliced((0, 9)),
    ],
    ids=["a gap", "an overlap", "the end is missing", "a step", "one slice"],
)
def test_other_slices_stay(proto):
    assert split(proto)[0] == 0


def test_slices_that_are_outputs_keep_their_names():
    proto = build(
        """g (float[2,4] x) => (float[] a, float[] b) {
            a = Slice (x, zero, two, one) b = Slice (x, two, four, one)
        }""",
        zero=np.array([0]),
        two=np.array([2]),
        four=np.array([4]),
        one=np.array([1]),
    )
    assert split(proto) == (1, {"Split": 1})


def test_a_square_a_root_and_a_quotient_are_written_one_way():
    proto = build(
        """g (float[2,3] x) => (float[] y) {
            a = Pow (x, two) b = Add (a, one) c = Pow (b, half) d = Reciprocal (c) e = Mul (x, d)
            y = Div (e, three)
        }""",
        two=np.array(2, np.int64),
        one=scalar(1),
        half=scalar(0.5),
        three=np.full(1, 3, F32),
    )
    assert rewrite(proto, arithmetic.rules) == {"Mul": 2, "Add": 1, "Sqrt": 1, "Div": 1}


@pytest.mark.parametrize(
    ("nodes", "weights"),
    [
        ("y = Pow (x, c)", {"c": scalar(3)}),
        ("y = Pow (x, c)", {"c": draw(3)}),
        ("y = Div (x, c)", {"c": scalar(1e-39)}),
        ("y = Div (x, c)", {"c": scalar(0)}),
        ("c = Exp (x) y = Div (x, c)", {}),
        ("r = Reciprocal (x) m = Mul (x, r) y = Add (m, r)", {}),
        ("r = Reciprocal (x) y = Mul (c, r)", {"c": scalar(2)}),
    ],
    ids=["cube", "several exponents", "subnormal", "zero", "computed", "read twice", "constant numerator"],
)
def test_arithmetic_refuses(nodes, weights):
    assert untouched(build(f"g (float[2,3] x) => (float[] y) {{ {nodes} }}", **weights), arithmetic.rules)


def test_whole_numbers_are_left_alone():
    text = "g (int64[2,3] x) => (int64[] y) {{ {} }}"
    for nodes in ("y = Div (x, c)", "y = Pow (x, c)"):
        assert untouched(build(text.format(nodes), c=np.array(2)), arithmetic.rules)


def test_a_product_and_a_sum_of_matrices_become_gemm():
    proto = build(
        "g (float[3,6] x) => (float[] y) { p = MatMul (x, w) y = Add (b, p) }", w=draw(6, 4), b=draw(4)
    )
    assert rewrite(proto, forms.rules) == {"Gemm": 1}


@pytest.mark.parametrize(
    ("x", "weights"),
    [
        ("float[2,3,6] x", {"w": draw(6, 4), "b": draw(4)}),
        ("float[3,6] x", {"w": draw(6, 4), "b": draw(3, 4)}),
        ("float[3,6] x", {"w": draw(6, 4), "b": draw(2, 1, 4)}),
    ],
    ids=["three axes", "a bias per row", "the bias enlarges"],
)
def test_gemm_refuses(x, weights):
    proto = build(f"g ({x}) => (float[] y) {{ p = MatMul (x, w) y = Add (p, b) }}", **weights)
    assert untouched(proto, forms.rules)


PADS = np.array([0, 0, 1, 2, 0, 0, 2, 1])


def test_padding_goes_into_convolution_and_average():
    conv = build(
        "g (float[1,3,8,8] x) => (float[] y) { p = Pad (x, pads) y = Conv <pads = [1, 0, 0, 1]> (p, w) }",
        pads=PADS,
        w=draw(4, 3, 3, 3),
    )
    assert rewrite(conv, forms.rules) == {"Conv": 1}
    pool = """g (float[1,3,8,8] x) => (float[] y) {{
        p = Pad (x, pads) y = AveragePool <kernel_shape = [3, 3]{}> (p)
    }}"""
    assert rewrite(build(pool.format(""), pads=PADS), forms.rules) == {"AveragePool": 1}
    counted = pool.format(", pads = [1, 1, 1, 1], count_include_pad = 1")
    assert rewrite(build(counted, pads=PADS // 2), forms.rules) == {"AveragePool": 1}
    assert untouched(build(counted, pads=PADS), forms.rules), "padding as wide as the window"


@pytest.mark.parametrize(
    ("nodes", "weights"),
    [
        ("p = Pad (x, pads) y = MaxPool <kernel_shape = [3, 3]> (p)", {"pads": PADS}),
        (
            "p = Pad (x, pads, one) y = AveragePool <kernel_shape = [3, 3]> (p)",
            {"pads": PADS, "one": scalar(1)},
        ),
        ('p = Pad <mode = "reflect"> (x, pads) y = AveragePool <kernel_shape = [3, 3]> (p)', {"pads": PADS}),
        ("p = Pad (x, pads) y = AveragePool <kernel_shape = [3, 3]> (p)", {"pads": PADS[::-1].copy()}),
        (
            "p = Pad (x, pads) y = AveragePool <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (p)",
            {"pads": PADS},
        ),
        ("p = Pad (x, pads) y = AveragePool <kernel_shape = [3, 3], ceil_mode = 1> (p)", {"pads": PADS}),
        (
            'p = Pad (x, pads) y = AveragePool <kernel_shape = [3, 3], auto_pad = "SAME_UPPER"> (p)',
            {"pads": PADS},
        ),
        ("p = Pad (x, pads, one) y = Conv (p, w)", {"pads": PADS, "one": scalar(1), "w": draw(4, 3, 3, 3)}),
    ],
    ids=[
        "maximum",
        "ones",
        "reflected",
        "channels",
        "not counted",
        "rounded up",
        "automatic",
        "ones, convolved",
    ],
)
def test_padding_that_would_change_the_result_stays(nodes, weights):
    assert untouched(build(f"g (float[1,3,8,8] x) => (float[] y) {{ {nodes} }}", **weights), forms.rules)


def test_what_does_nothing_disappears():
    proto = build(
        """g (float[2,3,4] x) => (float[] y) {
            a = Pad (x, none) b = Slice (a, zero, three, one) c = Reshape (b, same)
            d = Transpose <perm = [0, 1, 2]> (c) e = Transpose <perm = [2, 0, 1]> (d)
            f = Transpose <perm = [1, 2, 0]> (e) y = Relu (f)
        }""",
        none=np.zeros(6, np.int64),
        zero=np.array([0]),
        three=np.array([3]),
        one=np.array([1]),
        same=np.array([2, 3, 4]),
    )
    assert rewrite(proto, forms.rules, tolerance=0)["Relu"] == 1


CHANNELS_LAST = """g (float[2,5,6,4] x) => (float[] y) {{
    p = MatMul (x, w) a = Add (p, b) {} t = Transpose <perm = {}> ({}) y = Mul (t, s)
}}"""


def channels_last(perm: str = "[0, 3, 1, 2]", active: str = ""):
    nodes = f"c = {active} (a)" if active else ""
    text = CHANNELS_LAST.format(nodes, perm, "c" if active else "a")
    shape = (8, 1, 1) if perm == "[0, 3, 1, 2]" else (1,)
    return build(text, 20, w=draw(4, 8), b=draw(8), s=positive(*shape))


@pytest.mark.parametrize("active", ["", "Gelu", "Relu"])
def test_a_product_before_channels_first_is_a_convolution(active):
    from xslim.passes.rules import affine

    found = rewrite(channels_last(active=active), (*movement.rules, *affine.rules))
    if active:
        assert found == {"Transpose": 1, "Conv": 1, active: 1, "Mul": 1}
    else:
        assert found == {"Transpose": 1, "Conv": 1}, (
            "the factor went through the transposition into the weight"
        )


def test_other_permutations_stay():
    proto = channels_last("[0, 2, 1, 3]")
    assert untouched(proto, [rule for rule in movement.rules if "Convolution" in rule.name])


def test_a_constant_does_not_pass_a_transposition_without_reason():
    text = """g (float[2,4,6] x) => (float[] y) {
        r = Relu (x) t = Transpose <perm = [0, 2, 1]> (r) y = Mul (t, c)
    }"""
    assert untouched(build(text, c=draw(4)), movement.rules)
    text = text.replace("r = Relu (x)", "r = MatMul (x, w)")
    assert untouched(build(text, w=draw(6, 6), c=draw(6, 4)), movement.rules), "it varies along two axes"
