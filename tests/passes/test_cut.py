from collections import Counter

import numpy as np
import onnx
import pytest

from tests.passes.build import assert_same, build, draw, operators
from xslim.errors import ModelError
from xslim.graph.io import load_model, to_proto
from xslim.passes import join, prepare, split

RESIDUAL = """g (float[1,3,8,8] x, float[1,4,8,8] z) => (float[] y, float[] early) {
    a = Conv <pads = [1, 1, 1, 1]> (x, w) b = Relu (a) early = Sigmoid (b) c = Mul (b, s)
    d = Add (c, z) e = Relu (d) f = Mul (e, s) y = Add (f, d)
}"""


def residual() -> onnx.ModelProto:
    return build(RESIDUAL, w=draw(4, 3, 3, 3), s=draw(4, 1, 1))


def names(values) -> list[str]:
    return [value.name for value in values]


def test_split_gives_two_models_and_join_gives_the_whole_back():
    proto = residual()
    parts = split(load_model(proto), ["c"])
    assert names(parts.head.graph.outputs) == ["c", "early"]
    assert names(parts.tail.graph.inputs) == ["c", "z"]
    assert operators(parts.head) == {"Conv": 1, "Relu": 1, "Sigmoid": 1, "Mul": 1}
    assert operators(parts.tail) == {"Add": 2, "Relu": 1, "Mul": 1}
    for part in (parts.head, parts.tail):
        onnx.checker.check_model(to_proto(part), full_check=True)
    whole = to_proto(join(parts, parts.head))
    onnx.checker.check_model(whole, full_check=True)
    assert operators(whole) == operators(proto)
    assert_same(proto, whole, tolerance=0)


def test_a_changed_head_is_put_before_the_tail():
    proto = residual()
    parts = split(load_model(proto), ["c"])
    head = to_proto(parts.head)
    # What quantisation does to a head: new nodes, new constants, names that the tail has as well.
    negated = onnx.helper.make_node("Neg", ["b"], ["f"], name="extra")
    twice = onnx.helper.make_node("Neg", ["f"], ["e"], name="extra2")
    multiply = next(node for node in head.graph.node if node.op_type == "Mul")
    multiply.input[0] = "e"
    position = list(head.graph.node).index(multiply)
    head.graph.node.insert(position, negated)
    head.graph.node.insert(position + 1, twice)
    whole = to_proto(join(parts, load_model(head)))
    onnx.checker.check_model(whole, full_check=True)
    assert operators(whole) == operators(proto) + Counter(Neg=2)
    assert_same(proto, whole)


def test_a_head_in_a_newer_opset_raises_the_tail():
    proto = residual()
    parts = split(load_model(proto), ["c"])
    whole = join(parts, prepare(parts.head, opset=20))
    assert whole.opset_imports[""] == 20
    assert_same(proto, to_proto(whole))


def test_the_model_itself_is_left_alone():
    model = load_model(residual())
    before = to_proto(model).SerializeToString(deterministic=True)
    parts = split(model, ["c"])
    join(parts, parts.head)
    assert to_proto(model).SerializeToString(deterministic=True) == before


def test_a_branch_inside_a_nested_graph_counts_as_reading():
    proto = build(
        """g (float[2,3] x, bool flag) => (float[2,3] y) {
            a = Relu (x) b = Neg (a)
            y = If (flag) <then_branch = t () => (float[2,3] p) { p = Add (b, b) },
                           else_branch = e () => (float[2,3] q) { q = Mul (a, b) }>
        }"""
    )
    with pytest.raises(ModelError, match="'a' cross the cut"):
        split(load_model(proto), ["b"])
    parts = split(load_model(proto), ["a", "b"])
    assert operators(parts.tail) == {"If": 1}
    assert_same(proto, to_proto(join(parts, parts.head)))


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (["nowhere"], "no tensor 'nowhere'"),
        (["c", "c"], "'c' is given twice"),
        ([], "nothing to cut at"),
        (["x"], "'x' is an input or a constant"),
        (["w"], "'w' is an input or a constant"),
        (["y"], "nothing behind the cut reads 'y'"),
        (["e"], "do not separate the graph: 'd' cross the cut"),
        (["c", "d"], "nothing behind the cut reads 'c'"),
    ],
)
def test_a_cut_that_is_none_is_refused(cut, message):
    with pytest.raises(ModelError, match=message):
        split(load_model(residual()), cut)


def test_preparation_keeps_the_tensors_of_the_cut():
    proto = build(
        """g (float[1,3,8,8] x) => (float[] y) {
            a = Conv (x, w) b = Mul (a, s) c = Add (b, s) d = Sigmoid (c) y = Mul (c, d)
        }""",
        w=draw(4, 3, 3, 3),
        s=draw(4, 1, 1),
    )
    assert operators(prepare(load_model(proto))) == {"Conv": 1, "Swish": 1}
    model = prepare(load_model(proto), keep=["b", "gone"])
    assert names(model.graph.outputs) == ["y"]
    parts = split(model, ["b"])
    assert operators(parts.head) == {"Conv": 1}
    assert operators(parts.tail) == {"Add": 1, "Swish": 1}
    assert_same(proto, to_proto(join(parts, parts.head)))


def test_initializers_that_both_parts_read_are_in_both():
    parts = split(load_model(residual()), ["c"])
    for part in (parts.head, parts.tail):
        np.testing.assert_array_equal(part.graph.initializers["s"].const_value.numpy(), draw(4, 1, 1))


def test_initializers_keep_their_order():
    """The bytes of a part must not depend on where its values lie in memory."""
    weights = {f"w{index}": draw(3) for index in range(20)}
    chain = " ".join(f"t{index} = Add (t{index - 1}, w{index})" for index in range(1, 20))
    proto = build(f"g (float[3] x) => (float[] y) {{ t0 = Add (x, w0) {chain} y = Relu (t19) }}", **weights)
    parts = split(load_model(proto), ["t9"])
    assert list(parts.head.graph.initializers) == [f"w{index}" for index in range(10)]
    assert list(parts.tail.graph.initializers) == [f"w{index}" for index in range(10, 20)]
