"""Every Q/DQ pattern that does not fuse is found in a hand-built graph, and not in its correct form."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests import models
from tests.quantization.build import fused, graph, normal, plan_of, prepared, quantise
from xslim.commands.check import ProviderCheck, check_provider
from xslim.commands.qdq_patterns import PATTERNS
from xslim.graph.io import load_model
from xslim.targets import load_target
from xslim.targets.subgraphs import count_subgraphs

CONV = """(float[1,2,4,4] x) => (float[1,2,4,4] y) {
    xq = QuantizeLinear(x, s, z)
    xd = DequantizeLinear(xq, s, z)
    wd = DequantizeLinear<axis = 0>(w, ws, wz)
    c = Conv<kernel_shape = [1, 1]>(xd, wd)
    yq = QuantizeLinear(c, s, z)
    y = DequantizeLinear(yq, s, z)
}"""

VALUES = {
    "s": np.float32(0.05),
    "z": np.int8(3),
    "w": np.array([[[[5]], [[-100]]], [[[7]], [[127]]]], np.int8),
    "ws": np.array([0.01, 0.02], np.float32),
    "wz": np.zeros(2, np.int8),
}


def check(text: str, **values: np.ndarray) -> ProviderCheck:
    used = {name: value for name, value in (VALUES | values).items() if name in _names(text)}
    return check_provider(load_model(graph(text, used, opset=19)), load_target())


def _names(text: str) -> set[str]:
    return set("".join(letter if letter.isalnum() or letter == "_" else " " for letter in text).split())


def test_the_sound_form_passes() -> None:
    result = check(CONV)
    assert result.findings == ()
    assert result.passed
    assert result.int8_share == result.taken_share == 1


ONES = np.ones((2, 2, 1, 1), np.float32)
STORED = "wd = DequantizeLinear<axis = 0>(w, ws, wz)"
LAST = "yq = QuantizeLinear(c, s, z)\n    y = DequantizeLinear(yq, s, z)"

# What replaces what in the sound form, and further constants.
BROKEN: dict[str, tuple[str, str, dict[str, np.ndarray]]] = {
    "no-output-quantizer": (LAST, "y = Sin(c)", {}),
    "unequal-types": (LAST, LAST.replace("z)", "u)"), {"u": np.uint8(131)}),
    "symmetric-clamp": (
        LAST,
        "r = Relu(c) " + LAST.replace("(c,", "(r,").replace("z)", "n)"),
        {"n": np.int8(0)},
    ),
    "bias-scale": (
        "c = Conv<kernel_shape = [1, 1]>(xd, wd)",
        "bd = DequantizeLinear<axis = 0>(b, bs) c = Conv<kernel_shape = [1, 1]>(xd, wd, bd)",
        {"b": np.array([1, 2], np.int32), "bs": np.array([0.1, 0.1], np.float32)},
    ),
    "foldable-weight": (STORED, "t = Cast<to = 3>(f) " + STORED.replace("(w,", "(t,"), {"f": ONES}),
    "float-weight": ("(xd, wd)", "(xd, f)", {"f": ONES}),
    "asymmetric-weight": ("wz", "wa", {"wa": np.array([0, 1], np.int8)}),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_form_is_found(kind: str) -> None:
    old, new, values = BROKEN[kind]
    assert old in CONV
    result = check(CONV.replace(old, new), **values)
    assert [(item.kind, item.node, item.op_type) for item in result.findings] == [(kind, "c", "Conv")]
    assert not result.passed
    in_float = kind in ("no-output-quantizer", "float-weight", "foldable-weight")
    assert result.int8_share == (0 if in_float else 1)


def test_a_bias_in_the_scale_of_the_accumulator_is_sound() -> None:
    text = CONV.replace("c = Conv", "bd = DequantizeLinear<axis = 0>(b, bs) c = Conv").replace(
        "(xd, wd)", "(xd, wd, bd)"
    )
    scale = (np.float32(0.05) * VALUES["ws"]).astype(np.float32)
    assert check(text, b=np.array([1, 2], np.int32), bs=scale).passed


def test_parameters_that_change_around_a_move_are_found() -> None:
    text = """(float[1,2,4,4] x) => (float[1,4,4,2] y) {
        xq = QuantizeLinear(x, s, z)
        xd = DequantizeLinear(xq, s, z)
        t = Transpose<perm = [0, 2, 3, 1]>(xd)
        tq = QuantizeLinear(t, s, u)
        y = DequantizeLinear(tq, s, u)
    }"""
    (finding,) = check(text, u=np.int8(4)).findings
    assert (finding.kind, finding.node) == ("unequal-parameters", "t")
    assert check(text, u=np.int8(3)).passed


def test_quantisers_around_a_float_operator_are_found() -> None:
    text = """(float[2] x) => (float[2] y) {
        xq = QuantizeLinear(x, s, z)
        xd = DequantizeLinear(xq, s, z)
        t = Sqrt(xd)
        tq = QuantizeLinear(t, s, z)
        y = DequantizeLinear(tq, s, z)
    }"""
    (finding,) = check(text).findings
    assert (finding.kind, finding.node) == ("never-int8", "t")


def test_a_float_operator_between_convolutions_may_have_their_quantisers() -> None:
    conv = "Conv<kernel_shape = [1, 1]>"
    text = f"""(float[1,2,4,4] x) => (float[1,2,4,4] y) {{
        xq = QuantizeLinear(x, s, z)
        xd = DequantizeLinear(xq, s, z)
        wd = DequantizeLinear<axis = 0>(w, ws, wz)
        c = {conv}(xd, wd)
        cq = QuantizeLinear(c, s, z)
        cd = DequantizeLinear(cq, s, z)
        t = Sqrt(cd)
        tq = QuantizeLinear(t, s, z)
        td = DequantizeLinear(tq, s, z)
        d = {conv}(td, wd)
        yq = QuantizeLinear(d, s, z)
        y = DequantizeLinear(yq, s, z)
    }}"""
    assert check(text).findings == ()
    for before, after in ((f"c = {conv}(xd, wd)", "c = Exp(xd)"), (f"d = {conv}(td, wd)", "d = Exp(td)")):
        found = check(text.replace(before, after)).findings
        assert {finding.kind for finding in found} == {"never-int8"}


FLOAT_READER = """(float[1,2,4,4] x) => (float[1,2,4,4] y) {
    BEFORE
    wd = DequantizeLinear<axis = 0>(w, ws, wz)
    c = Conv<kernel_shape = [1, 1]>(f, wd)
    AFTER
}"""
PAIR = "{0}q = QuantizeLinear({0}, s, z) {0}d = DequantizeLinear({0}q, s, z)"


def test_an_int8_weight_beside_a_float_input_is_found() -> None:
    text = FLOAT_READER.replace("BEFORE", f"{PAIR.format('x')} f = Sin(xd)")
    text = text.replace("AFTER", "yq = QuantizeLinear(c, s, z) y = DequantizeLinear(yq, s, z)")
    result = check(text)
    (finding,) = result.findings
    assert (finding.kind, finding.node) == ("float-input", "c")
    assert [node.name for node in result.float_work] == ["c"]
    assert result.int8_share == 0


def test_int8_weights_alone_are_no_mistake() -> None:
    result = check(FLOAT_READER.replace("BEFORE", "f = Sin(x)").replace("AFTER", "y = Sin(c)"))
    assert result.findings == ()
    assert result.int8_share == 0


MOVES = "f = MaxPool<kernel_shape = [1, 1]>(xd)", "p = MaxPool<kernel_shape = [1, 1]>(c)"


def test_quantisers_on_the_other_side_of_a_move_serve_as_well() -> None:
    before, after = MOVES
    text = FLOAT_READER.replace("BEFORE", f"{PAIR.format('x')} {before}")
    text = text.replace("AFTER", f"{after} yq = QuantizeLinear(p, s, z) y = DequantizeLinear(yq, s, z)")
    result = check(text)
    assert result.findings == ()
    assert result.int8_share == 1


def test_onnxruntime_moves_quantisers_across_what_the_tables_say(tmp_path: Path) -> None:
    before, after = MOVES
    text = FLOAT_READER.replace("BEFORE", f"{PAIR.format('x')} {before}")
    text = text.replace("AFTER", f"{after} yq = QuantizeLinear(p, s, z) y = DequantizeLinear(yq, s, z)")
    used = {name: value for name, value in VALUES.items() if name in _names(text)}
    _, counts = fused(graph(text, used, opset=19), tmp_path, signed=True)
    assert (counts["QLinearConv"], counts["Conv"]) == (1, 0)


def test_a_move_that_reads_a_result_as_its_shape_passes_nothing() -> None:
    text = """(float[4] x) => (float y) {
        xq = QuantizeLinear(x, s, z)
        xd = DequantizeLinear(xq, s, z)
        n = Shape(xd)
        r = Reshape(xd, n)
        rq = QuantizeLinear(r, s, z)
        y = DequantizeLinear(rq, s, z)
    }"""
    assert check(text).findings == ()


def test_every_pattern_is_tested() -> None:
    assert {"unequal-parameters", "never-int8", "float-input", *BROKEN} == set(PATTERNS)


@pytest.mark.parametrize("make", [models.conv_net, models.mlp, models.residual_net, models.depthwise_net])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_what_xslim_writes_passes(make, level: int) -> None:
    proto = make()
    model = prepared(proto)
    shape = [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    result, _ = quantise(model, plan_of(model, level), [{"x": normal(1, *shape)}])
    checked = check_provider(load_model(result), load_target())
    assert checked.passed, checked.findings
    assert checked.int8_share == checked.taken_share == 1
    assert checked.subgraphs == 1


def test_work_that_falls_back_fails_and_small_operators_do_not() -> None:
    text = "(float[4,2] x) => (float[2,2] y) { y = Gemm<transA = 1>(x, w) }"
    heavy = check_provider(load_model(graph(text, {"w": normal(1, 4, 2)})), load_target())
    assert [node.name for node in heavy.refused_work] == ["y"]
    assert not heavy.passed
    assert heavy.taken_share == 0
    text = "(float[2,4] x) => (float[2,4] y) { e = Exp(x) y = MatMul(e, w) }"
    light = check_provider(load_model(graph(text, {"w": normal(1, 4, 4)})), load_target())
    assert [node.refusal for node in light.nodes] == ["spacemit has no Exp", None]
    assert light.passed
    assert light.int8_share == 0


def test_subgraphs_are_cut_where_a_path_leaves_and_comes_back() -> None:
    text = """(float[4] x) => (float[4] y) {
        a = Relu(x)
        b = Exp(a)
        c = Relu(b)
        d = Add(a, c)
        y = Add(d, a)
    }"""
    model = load_model(graph(text))
    result = check_provider(model, load_target())
    # `a` and `d` are neighbours, but `b` and `c` have to run between them.
    assert result.subgraphs == 2


def test_parallel_branches_are_parts_of_their_own() -> None:
    text = "(float[4] x) => (float[4] y, float[4] z) { y = Relu(x) z = Relu(x) }"
    model = load_model(graph(text))
    assert count_subgraphs(model.graph, dict.fromkeys(model.graph, True)) == 2
    assert count_subgraphs(model.graph, dict.fromkeys(model.graph, False)) == 0
