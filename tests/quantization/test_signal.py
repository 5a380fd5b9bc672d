"""Powers in front of logarithms, roots and quotients stay float, and so do the filters of a spectrum."""

from __future__ import annotations

import numpy as np
import pytest

from tests import models
from tests.quantization.build import graph, plan_of, prepared
from xslim.quantization.signal import signal_values

SPECTRUM = """(float[1,1,64] x) => (float[1,4,13] y) {
    r = Conv <strides=[4]> (x, real)
    i = Conv <strides=[4]> (x, imaginary)
    p = Mul(r, r)
    q = Mul(i, i)
    s = Add(p, q)
    e = Add(s, tiny)
    l = Log(e)
    y = Conv <pads=[1,1]> (l, w)
}"""

NETWORK = """(float[1,1,64] x) => (float[1,4,13] y) {
    a = Conv <strides=[4]> (x, real)
    r = Relu(a)
    p = Mul(r, r)
    e = Add(p, tiny)
    l = Log(e)
    y = Conv <pads=[1,1]> (l, w)
}"""

LOG_SOFTMAX = """(float[1,8] x) => (float[1,8] y) {
    m = MatMul(x, w)
    z = Softmax(m)
    y = Log(z)
}"""

QUOTIENT = """(float[1,4,8] x) => (float[1,4,8] y) {
    c = Mul(x, x)
    v = ReduceMean <axes=[2]> (c)
    r = Sqrt(v)
    y = Div(x, r)
}"""


def weights(text: str) -> dict[str, np.ndarray]:
    known = {
        "real": models.draw(1, 4, 1, 16),
        "imaginary": models.draw(2, 4, 1, 16),
        "w": models.draw(3, 8, 8) if "MatMul" in text else models.draw(3, 4, 4, 3),
        "tiny": np.array([1e-10], np.float32),
    }
    return {name: array for name, array in known.items() if f"{name})" in text}


def values(text: str) -> set[str]:
    return set(signal_values(prepared(graph(text, weights(text))).graph))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SPECTRUM, {"x", "r", "i", "p", "q", "s", "e"}),
        (NETWORK, {"p", "e"}),
        (LOG_SOFTMAX, set()),
    ],
)
def test_what_the_smallest_values_pass_through(text: str, expected: set[str]) -> None:
    assert values(text) == expected


def test_a_norm_is_float_behind_its_square() -> None:
    assert {"c", "v", "r"} <= values(QUOTIENT)
    assert "x" not in values(QUOTIENT)


def test_the_filters_of_a_spectrum_are_float_and_the_layers_behind_are_int8() -> None:
    plan = plan_of(prepared(graph(SPECTRUM, weights(SPECTRUM))))
    assert "y" in plan.int8_operators
    assert plan.int8_operators.isdisjoint({"r", "i", "p", "q", "s", "e"})
    (reason,) = {operator.reason for operator in plan.operators if operator.name == "r"}
    assert "spectrum" in reason


def test_a_square_is_int8_at_level_0_only() -> None:
    text = """(float[1,3,8,8] x) => (float[1,4,8,8] y) {
        a = Conv(x, w)
        s = Mul(a, a)
        y = Conv(s, v)
    }"""
    model = prepared(graph(text, {"w": models.draw(1, 4, 3, 1, 1), "v": models.draw(2, 4, 4, 1, 1)}))
    assert "s" in plan_of(model, 0).int8_operators
    assert "s" not in plan_of(model, 1).int8_operators
