"""Outputs that hold only values of saturating functions are recognised."""

from __future__ import annotations

import pytest

from tests.quantization.build import graph
from xslim.graph.io import load_model
from xslim.graph.saturation import saturated_outputs

X = "(float[2,4] x) => (float[n,m] y)"


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("y = Softmax(x)", ["y"]),
        ("s = Softmax(x) y = Transpose(s)", ["s"]),
        ("s = Sigmoid(x) t = Tanh(x) y = Concat <axis=1> (s, t)", ["s", "t"]),
        ("s = Sigmoid(x) y = Concat <axis=1> (s, x)", []),
        ("s = Softmax(x) y = Add(s, x)", []),
        ("e = Exp(x) r = ReduceSum(e) y = Div(e, r)", ["e"]),
        ("r = ReduceSum(x) y = Div(x, r)", []),
        ("y = Relu(x)", []),
    ],
)
def test_the_functions_in_front_of_an_output(nodes: str, expected: list[str]) -> None:
    model = load_model(graph(f"{X} {{ {nodes} }}"))
    found = saturated_outputs(model.graph)
    assert [node.name for nodes in found.values() for node in nodes] == expected
