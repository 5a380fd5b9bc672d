"""Every quantiser is found under the name of its own tensor."""

from __future__ import annotations

import numpy as np

from tests.quantization.build import feeds_of, graph, normal, plan_of, prepared, quantise
from xslim.graph.io import load_model
from xslim.graph.ops import constant
from xslim.graph.quantizers import quantizer_pairs

# The exporter renames `a` to `a_float`, as the dequantised tensor takes its place among the outputs: unless a
# tensor has that name already.
NAMESAKES = """(float[1,3,8,8] x) => (float[1,4,6,6] a, float[1,4,2,2] b_float, float[1,4,6,6] b) {
    a = Conv(x, w)
    a_float = Tanh(a)
    a_float_float = Mul(a_float, a)
    b = Conv(x, v)
    c = Add(a_float_float, b)
    d = Conv(c, u)
    b_float = Conv(d, u)
}"""


def test_a_name_that_looks_like_another_s_is_not_taken_for_it() -> None:
    weights = {"w": normal(1, 4, 3, 3, 3), "v": normal(2, 4, 3, 3, 3, scale=5), "u": normal(3, 4, 4, 3, 3)}
    proto = graph(NAMESAKES, weights)
    model = prepared(proto)
    plan = plan_of(model)
    exported, quantization = quantise(model, plan, feeds_of(proto))
    assert {"a", "a_float", "b", "b_float"} <= set(quantization.activations)
    found = dict(quantizer_pairs(load_model(exported).graph))
    assert set(found) == set(quantization.activations)
    for name, (quantize, _) in found.items():
        scale = quantize.inputs[1]
        np.testing.assert_array_equal(constant(scale), quantization.activations[name].scale)
