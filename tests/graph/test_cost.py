from __future__ import annotations

import onnx
import pytest
from onnx import helper

from tests.export.running import draw, prepared
from tests.models import conv_net, model
from xslim.export.dynamic import quantize_dynamically
from xslim.graph.cost import model_cost
from xslim.graph.io import load_model
from xslim.targets import load_target


def single(node: onnx.NodeProto, shapes: dict[str, list[int]], **weights: tuple[int, ...]) -> onnx.ModelProto:
    arrays = {name: draw(1, *shape) for name, shape in weights.items()}
    return model([node], {"x": shapes["x"]}, {"y": shapes["y"]}, arrays)


CASES = {
    "depthwise": (
        single(
            helper.make_node("Conv", ["x", "w"], ["y"], group=4, pads=[1, 1, 1, 1]),
            {"x": [2, 4, 5, 5], "y": [2, 4, 5, 5]},
            w=(4, 1, 3, 3),
        ),
        2 * 4 * 25 * 9,
    ),
    "transposed": (
        single(
            helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2]),
            {"x": [1, 3, 4, 4], "y": [1, 5, 8, 8]},
            w=(3, 5, 2, 2),
        ),
        3 * 16 * 5 * 4,
    ),
    "batched product": (
        single(helper.make_node("MatMul", ["x", "w"], ["y"]), {"x": [3, 4, 8], "y": [3, 4, 6]}, w=(8, 6)),
        3 * 4 * 8 * 6,
    ),
    "gemm": (
        single(helper.make_node("Gemm", ["x", "w"], ["y"], transA=1), {"x": [8, 4], "y": [4, 6]}, w=(8, 6)),
        4 * 8 * 6,
    ),
    "einsum": (
        single(
            helper.make_node("Einsum", ["x", "w"], ["y"], equation="...hqd, kd -> ...qhk"),
            {"x": [2, 3, 4, 5], "y": [2, 4, 3, 6]},
            w=(6, 5),
        ),
        2 * 3 * 4 * 6 * 5,
    ),
    "einsum of one operand": (
        single(helper.make_node("Einsum", ["x"], ["y"], equation="ij->i"), {"x": [3, 4], "y": [3]}),
        0,
    ),
    "lstm": (
        single(
            helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=3),
            {"x": [7, 2, 5], "y": [7, 1, 2, 3]},
            w=(1, 12, 5),
            r=(1, 12, 3),
        ),
        7 * 2 * 12 * (5 + 3),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_multiply_accumulates(name: str) -> None:
    proto, macs = CASES[name]
    cost = model_cost(prepared(proto))
    assert cost.macs == macs
    assert not cost.unknown_shapes


def test_parameters_and_their_bytes_before_and_after_int8() -> None:
    source = prepared(conv_net(channels=16))
    before, after = model_cost(source), model_cost(quantize_dynamically(source, load_target()).model)
    weights = 8 * 16 * 9 + 16 * 8 * 9
    assert before.parameters == weights + 8 + 16 + 160 + 10
    assert before.parameter_bytes == 4 * before.parameters
    # Two scales and zero points per channel come, three bytes of every weight go.
    assert after.parameter_bytes == before.parameter_bytes - 3 * weights + 5 * (8 + 16)
    assert after.macs == before.macs
    assert before.counts["Conv"] == 2


def test_an_einsum_of_three_operands_makes_the_count_a_lower_bound() -> None:
    node = helper.make_node("Einsum", ["x", "v", "w"], ["y"], equation="ij,jk,kl->il")
    cost = model_cost(prepared(single(node, {"x": [2, 3], "y": [2, 5]}, v=(3, 4), w=(4, 5))))
    assert (cost.macs, cost.unknown_shapes) == (0, True)


FUNCTIONS = """<ir_version: 8, opset_import: ["" : 17, "local" : 1]>
net (float[1,4] x, float[4,4] w) => (float[1,4] y) { y = local.OUTER(x, w) }
<domain: "local", opset_import: ["" : 17, "local" : 1]>
outer (a, b) => (c) { d = Relu(a) c = local.inner(d, b) }
<domain: "local", opset_import: ["" : 17]>
inner (a, b) => (c) { c = INNER(a, b) }
"""


@pytest.mark.parametrize(("called", "inside", "unknown"), [
    ("outer", "MatMul", True), ("inner", "MatMul", True), ("outer", "Add", False)
])  # fmt: skip
def test_products_inside_of_functions_make_the_count_a_lower_bound(
    called: str, inside: str, unknown: bool
) -> None:
    text = FUNCTIONS.replace("OUTER", called).replace("INNER", inside)
    cost = model_cost(load_model(onnx.parser.parse_model(text)))
    assert (cost.macs, cost.unknown_shapes) == (0, unknown)
