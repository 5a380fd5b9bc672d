import numpy as np
import pytest

from tests.passes.build import assert_same, build, draw, operators, positive, rewrite, untouched
from xslim.graph.io import load_model, to_proto
from xslim.passes import prepare
from xslim.passes.fusion import EVERY_FUSION, FUSIONS
from xslim.passes.rules import activations, arithmetic, normalization, softmax

F32 = np.float32
X = "float[2,4,6] x"


def scalar(value: float) -> np.ndarray:
    return np.array(value, F32)


GELU = {
    "half last": "d = Div (x, r) e = Erf (d) a = Add (e, one) m = Mul (x, a) y = Mul (m, h)",
    "half on the input": "d = Div (x, r) e = Erf (d) a = Add (one, e) m = Mul (h, x) y = Mul (a, m)",
    "half inside": "d = Div (x, r) e = Erf (d) a = Add (e, one) m = Mul (a, h) y = Mul (m, x)",
}
TANH = {
    "power": "q = Pow (x, three) c = Mul (k, q)",
    "product": "q = Mul (x, x) p = Mul (q, x) c = Mul (p, k)",
    "constant inside": "q = Mul (x, k) p = Mul (x, q) c = Mul (x, p)",
}


@pytest.mark.parametrize("form", GELU)
def test_gelu_by_erf(form):
    proto = build(
        f"g ({X}) => (float[] y) {{ {GELU[form]} }}",
        20,
        r=scalar(2**0.5),
        one=scalar(1),
        h=np.array([0.5], F32),
    )
    assert rewrite(proto, (*arithmetic.rules, *activations.gelu)) == {"Gelu": 1}


@pytest.mark.parametrize("cube", TANH)
@pytest.mark.parametrize("tail", ["m = Mul (x, b) y = Mul (m, h)", "m = Mul (h, x) y = Mul (m, b)"])
def test_gelu_by_tanh(cube, tail):
    proto = build(
        f"""g ({X}) => (float[] y) {{
            {TANH[cube]} s = Add (x, c) i = Mul (s, r) t = Tanh (i) b = Add (t, one) {tail}
        }}""",
        20,
        **({"three": scalar(3)} if cube == "power" else {}),
        k=scalar(0.044715),
        r=scalar((2 / np.pi) ** 0.5),
        one=scalar(1),
        h=scalar(0.5),
    )
    found = rewrite(proto, (*arithmetic.rules, *activations.gelu))
    assert found == {"Gelu": 1}


@pytest.mark.parametrize(("r", "one", "h"), [(1.5, 1, 0.5), (2**0.5, 2, 0.5), (2**0.5, 1, 1)])
def test_gelu_refuses_other_constants(r, one, h):
    proto = build(
        f"g ({X}) => (float[] y) {{ {GELU['half last']} }}", 20, r=scalar(r), one=scalar(one), h=scalar(h)
    )
    assert untouched(proto, activations.gelu)
    assert "Gelu" not in rewrite(proto, (*arithmetic.rules, *activations.gelu))


def test_swish_with_and_without_a_factor():
    plain = build(f"g ({X}) => (float[] y) {{ s = Sigmoid (x) y = Mul (s, x) }}", 24)
    assert rewrite(plain, activations.swish) == {"Swish": 1}
    scaled = build(
        f"g ({X}) => (float[] y) {{ a = Mul (k, x) s = Sigmoid (a) y = Mul (x, s) }}", 24, k=scalar(1.702)
    )
    assert rewrite(scaled, activations.swish) == {"Swish": 1}


@pytest.mark.parametrize(
    ("nodes", "weights"),
    [
        ("s = Sigmoid (x) z = Relu (x) y = Mul (z, s)", {}),
        ("s = Sigmoid (x) m = Mul (x, s) y = Add (m, s)", {}),
        ("a = Mul (x, k) s = Sigmoid (a) y = Mul (x, s)", {"k": draw(6)}),
    ],
    ids=["another factor", "the gate is read twice", "a factor per channel"],
)
def test_swish_refuses(nodes, weights):
    assert untouched(build(f"g ({X}) => (float[] y) {{ {nodes} }}", 24, **weights), activations.swish)


HARD = {
    "divided after the product": "a = Add (x, three) c = Clip (a, zero, six) m = Mul (x, c) y = Div (m, six)",
    "divided before the product": "a = Add (x, three) c = Clip (a, zero, six)"
    " t = Div (c, six) y = Mul (x, t)",
    "scaled first": "a = Div (x, six) b = Add (a, half) c = Clip (b, zero, one) y = Mul (c, x)",
    "with HardSigmoid": "c = HardSigmoid <alpha = 0.16666667, beta = 0.5> (x) y = Mul (x, c)",
}


@pytest.mark.parametrize("form", HARD)
def test_hard_swish(form):
    names = {"three": 3, "zero": 0, "six": 6, "half": 0.5, "one": 1}
    constants = {name: scalar(value) for name, value in names.items() if name in HARD[form]}
    proto = build(f"g ({X}) => (float[] y) {{ {HARD[form]} }}", **constants)
    rules = (*arithmetic.rules, *activations.hard_sigmoid, *activations.hard_swish)
    assert rewrite(proto, rules) == {"HardSwish": 1}


def test_hard_sigmoid_alone_and_with_other_slopes():
    names = {"three": 3, "zero": 0, "six": 6}
    constants = {name: scalar(value) for name, value in names.items()}
    proto = build(
        f"g ({X}) => (float[] y) {{ a = Add (x, three) c = Clip (a, zero, six) y = Div (c, six) }}",
        **constants,
    )
    assert rewrite(proto, (*arithmetic.rules, *activations.hard_sigmoid)) == {"HardSigmoid": 1}
    other = build(
        f"g ({X}) => (float[] y) {{ a = Add (x, three) c = Clip (a, zero, six) y = Div (c, five) }}",
        **constants,
        five=scalar(5),
    )
    assert "HardSigmoid" not in rewrite(other, (*arithmetic.rules, *activations.hard_sigmoid))
    gate = build(f"g ({X}) => (float[] y) {{ c = HardSigmoid (x) y = Mul (x, c) }}")
    assert untouched(gate, activations.hard_swish)


def test_mish():
    proto = build(f"g ({X}) => (float[] y) {{ s = Softplus (x) t = Tanh (s) y = Mul (t, x) }}", 18)
    assert rewrite(proto, activations.mish) == {"Mish": 1}
    twice = build(
        f"g ({X}) => (float[] y) {{ s = Softplus (x) t = Tanh (s) m = Mul (t, x) y = Add (m, t) }}", 18
    )
    assert untouched(twice, activations.mish)


SQUARES = {"product": "q = Mul (d, d)", "power": "q = Pow (d, two)"}
DIVISIONS = {
    "division": "n = Div (d, r)",
    "reciprocal": "i = Reciprocal (r) n = Mul (d, i)",
    "one over": "i = Div (one, r) n = Mul (i, d)",
}
ROOTS = {"root": "r = Sqrt (e)", "half power": "r = Pow (e, half)"}


def norm_model(
    axes: str, square: str, root: str, division: str, tail: str, x: str = X, opset: int = 17, **weights
):
    """A layer norm written out; `axes` as an attribute below opset 18, as an input from there on."""
    if opset < 18:
        mean, variance = (f"ReduceMean <axes = {axes}> ({value})" for value in "xq")
    else:
        mean, variance = (f"ReduceMean ({value}, axes)" for value in "xq")
        weights["axes"] = np.array(eval(axes))
    nodes = f"m = {mean} d = Sub (x, m) {square} v = {variance} e = Add (eps, v) {root} {division} {tail}"
    constants = {"eps": 1e-5, "two": 2, "half": 0.5, "one": 1}
    used = {
        name: scalar(value)
        for name, value in constants.items()
        if f"({name}," in nodes or f" {name})" in nodes
    }
    return build(f"g ({x}) => (float[] y) {{ {nodes} }}", opset, **used, **weights)


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("division", DIVISIONS)
@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("square", SQUARES)
def test_layer_norm_in_every_spelling(square, root, division, opset):
    proto = norm_model(
        "[-1]",
        SQUARES[square],
        ROOTS[root],
        DIVISIONS[division],
        "s = Mul (n, w) y = Add (b, s)",
        opset=opset,
        w=draw(6),
        b=draw(6, seed=1),
    )
    assert rewrite(proto, (*arithmetic.rules, *normalization.layer_norm)) == {"LayerNormalization": 1}


def test_layer_norm_without_parameters_and_over_several_axes():
    bare = norm_model("[2]", SQUARES["product"], ROOTS["root"], DIVISIONS["division"], "y = Identity (n)")
    assert rewrite(bare, normalization.layer_norm) == {"LayerNormalization": 1}
    several = norm_model(
        "[1, 2]", SQUARES["product"], ROOTS["root"], DIVISIONS["division"], "y = Mul (n, w)", w=draw(4, 6)
    )
    assert rewrite(several, normalization.layer_norm) == {"LayerNormalization": 1}


def test_layer_norm_over_channels_goes_between_transposes():
    proto = norm_model(
        "[1]",
        SQUARES["product"],
        ROOTS["root"],
        DIVISIONS["division"],
        "s = Mul (n, w) y = Add (s, b)",
        x="float[2,4,5,6] x",
        w=draw(4, 1, 1),
        b=draw(4, 1, 1, seed=1),
    )
    from xslim.passes.rules import movement

    found = rewrite(proto, (*normalization.layer_norm, *movement.rules))
    assert found == {"Transpose": 2, "LayerNormalization": 1}


def test_instance_norm_over_the_spatial_axes():
    proto = norm_model(
        "[2, 3]",
        SQUARES["product"],
        ROOTS["root"],
        DIVISIONS["division"],
        "s = Mul (n, w) y = Add (s, b)",
        x="float[2,4,5,6] x",
        w=draw(4, 1, 1),
        b=draw(1, 4, 1, 1, seed=1),
    )
    rules = (*normalization.layer_norm, *normalization.instance_norm)
    assert rewrite(proto, rules) == {"InstanceNormalization": 1}


NORM_REFUSALS = {
    "mean and variance over different axes": "m = ReduceMean <axes = [-1]> (x) d = Sub (x, m) q = Mul (d, d) "
    "v = ReduceMean <axes = [1]> (q) e = Add (v, eps) r = Sqrt (e) y = Div (d, r)",
    "axes in the middle": "m = ReduceMean <axes = [0]> (x) d = Sub (x, m) q = Mul (d, d) "
    "v = ReduceMean <axes = [0]> (q) e = Add (v, eps) r = Sqrt (e) y = Div (d, r)",
    "the deviation is read elsewhere": "m = ReduceMean <axes = [-1]> (x) d = Sub (x, m) q = Mul (d, d) "
    "v = ReduceMean <axes = [-1]> (q) e = Add (v, eps) r = Sqrt (e) n = Div (d, r) y = Mul (n, r)",
    "epsilon is computed": "m = ReduceMean <axes = [-1]> (x) d = Sub (x, m) q = Mul (d, d) "
    "v = ReduceMean <axes = [-1]> (q) u = Mul (m, m) w = Add (u, eps) e = Add (v, w) "
    "r = Sqrt (e) y = Div (d, r)",
}


@pytest.mark.parametrize("reason", NORM_REFUSALS)
def test_layer_norm_refuses_when(reason):
    proto = build(f"g ({X}) => (float[] y) {{ {NORM_REFUSALS[reason]} }}", eps=scalar(1e-5))
    assert untouched(
        proto, (*normalization.layer_norm, *normalization.instance_norm, *normalization.rms_norm)
    )


@pytest.mark.parametrize(
    ("nodes", "constant"),
    [("y = Mul (n, c)", draw(4, 1)), ("y = Add (n, c)", draw(4, 6)), ("y = Mul (n, c)", draw(2, 1, 6))],
    ids=["along another axis", "along two axes", "along the batch"],
)
def test_a_constant_that_is_no_parameter_stays_outside(nodes, constant):
    proto = build(
        f"g ({X}) => (float[] y) {{ n = LayerNormalization (x, w) {nodes} }}", w=draw(6), c=constant
    )
    assert untouched(proto, normalization.layer_norm)


def test_parameters_are_absorbed_in_order():
    proto = build(
        f"""g ({X}) => (float[] y) {{
            n = LayerNormalization (x, w, b) s = Mul (n, c) t = Add (s, k) y = Mul (t, two)
        }}""",
        w=draw(6),
        b=draw(6, seed=1),
        c=draw(6, seed=2),
        k=draw(1, 1, 6, seed=3),
        two=scalar(2),
    )
    assert rewrite(proto, normalization.layer_norm) == {"LayerNormalization": 1}


def test_rms_norm():
    text = f"""g ({X}) => (float[] y) {{
        q = Mul (x, x) m = ReduceMean (q, axes) e = Add (m, eps) r = Sqrt (e) n = Div (x, r) y = Mul (w, n)
    }}"""
    proto = build(text, 23, axes=np.array([-1]), eps=scalar(1e-6), w=draw(6))
    assert rewrite(proto, normalization.rms_norm) == {"RMSNormalization": 1}


def test_a_layer_norm_in_the_making_is_no_rms_norm():
    proto = norm_model(
        "[-1]", SQUARES["product"], ROOTS["root"], DIVISIONS["division"], "y = Identity (n)", opset=23
    )
    assert untouched(proto, normalization.rms_norm)


GROUPED = """g (float[2,6,5,5] x) => (float[] y) {
    a = Reshape (x, s) n = InstanceNormalization <epsilon = 0.001> (a, one, zero) r = Reshape (n, t)
    m = Mul (r, w) y = Add (m, b)
}"""


def grouped(opset: int = 21, shape=(0, 3, -1), groups: int = 3):
    return build(
        GROUPED,
        opset,
        s=np.array(shape),
        t=np.array([2, 6, 5, 5]),
        one=positive(groups),
        zero=draw(groups),
        w=draw(6, 1, 1),
        b=draw(1, 6, 1, 1),
    )


def test_group_norm():
    assert rewrite(grouped(), normalization.group_norm, 1e-4) == {"GroupNormalization": 1}


def test_group_norm_refuses_groups_across_the_batch():
    assert untouched(grouped(shape=(1, 6, -1), groups=6), normalization.group_norm)


AXES = {"axes": [2], "both": [1, 2]}
SOFTMAX = {
    "with the maximum": "m = ReduceMax <axes = [-1]> (x) d = Sub (x, m) e = Exp (d) "
    "s = ReduceSum (e, axes) y = Div (e, s)",
    "plain": "e = Exp (x) s = ReduceSum (e, axes) y = Div (e, s)",
    "between transposes": "t = Transpose <perm = [0, 2, 1]> (x) p = Softmax <axis = 1> (t) "
    "y = Transpose <perm = [0, 2, 1]> (p)",
}


@pytest.mark.parametrize("form", SOFTMAX)
def test_softmax(form):
    weights = {"axes": np.array([2])} if "axes)" in SOFTMAX[form] else {}
    assert rewrite(build(f"g ({X}) => (float[] y) {{ {SOFTMAX[form]} }}", **weights), softmax.softmax) == {
        "Softmax": 1
    }


def test_log_of_softmax():
    proto = build(f"g ({X}) => (float[] y) {{ p = Softmax <axis = 1> (x) y = Log (p) }}")
    assert rewrite(proto, softmax.softmax) == {"LogSoftmax": 1}


@pytest.mark.parametrize(
    "nodes",
    [
        "e = Exp (x) s = ReduceSum (e, both) y = Div (e, s)",
        "t = Transpose <perm = [1, 2, 0]> (x) p = Softmax <axis = 1> (t) "
        "y = Transpose <perm = [1, 2, 0]> (p)",
        "p = Softmax (x) l = Log (p) y = Add (l, p)",
    ],
    ids=["two axes", "transposes that do not cancel", "probabilities are read"],
)
def test_softmax_refuses(nodes):
    weights = {
        name: np.array(value) for name, value in {"axes": [2], "both": [1, 2]}.items() if name + ")" in nodes
    }
    assert untouched(build(f"g ({X}) => (float[] y) {{ {nodes} }}", **weights), softmax.softmax)


def test_a_maximum_over_another_axis_stays():
    nodes = "m = ReduceMax <axes = [1]> (x) d = Sub (x, m) e = Exp (d) s = ReduceSum (e, axes) y = Div (e, s)"
    proto = build(f"g ({X}) => (float[] y) {{ {nodes} }}", axes=np.array([2]))
    assert rewrite(proto, softmax.softmax) == {"ReduceMax": 1, "Sub": 1, "Softmax": 1}


def silu(opset: int):
    text = "g (float[1,3,8,8] x) => (float[] y) { h = Conv (x, w) s = Sigmoid (h) y = Mul (h, s) }"
    return build(text, opset, w=draw(4, 3, 3, 3))


def test_the_opset_is_raised_for_a_fusion_and_the_log_says_why(caplog):
    caplog.set_level("INFO")
    after = prepare(load_model(silu(17)))
    assert after.opset_imports[""] == 24
    assert operators(after) == {"Conv": 1, "Swish": 1}
    assert_same(silu(17), to_proto(after))
    assert "opset 17 -> 24: 1 x Swish needs 24" in caplog.text


@pytest.mark.parametrize(
    "arguments", [{"raise_opset_for": EVERY_FUSION - {"Swish"}}, {"opset": 17}, {"opset": 20}, {"opset": 25}]
)
def test_a_fusion_that_the_opset_lacks_or_the_target_does_not_want_is_not_made(arguments):
    after = prepare(load_model(silu(17)), **arguments)
    assert after.opset_imports[""] == arguments.get("opset", 17)
    assert operators(after) == {"Conv": 1, "Sigmoid": 1, "Mul": 1}
    assert_same(silu(17), to_proto(after))


def test_every_fusion_is_listed_once_with_rules():
    assert len(EVERY_FUSION) == len(FUSIONS)
    assert all(fusion.rules and fusion.first >= 6 for fusion in FUSIONS)
