import numpy as np
import onnx
import pytest

from tests.passes.build import assert_same, build, draw, operators, untouched
from xslim.errors import ModelError
from xslim.graph.io import load_model, to_proto
from xslim.passes import prepare
from xslim.passes.rules import windows

F32 = np.float32


def prepared(proto: onnx.ModelProto, tolerance: float = 1e-5, **arguments):
    model = prepare(load_model(proto), **arguments)
    after = to_proto(model)
    onnx.checker.check_model(after)
    assert_same(proto, after, tolerance)
    return model


SHUFFLE = """g (float[{x}] x) => (float[] y) {{
    r = Relu (x) a = Reshape (r, s) t = Transpose <perm = {perm}> (a) m = Reshape (t, o) y = Sigmoid (m)
}}"""
WINDOWS = {
    "WindowPartition": ("2,6,9,4", [2, 2, 3, 3, 3, 4], [12, 9, 4]),
    "WindowReverse": ("12,9,4", [2, 2, 3, 3, 3, 4], [2, 6, 9, 4]),
    "WindowPartition, square": ("1,8,8,4", [1, 2, 4, 2, 4, 4], [-1, 4, 4, 4]),
    "WindowReverse, square": ("4,4,4,4", [1, 2, 2, 4, 4, 4], [1, 8, 8, -1]),
}


def shuffle(x, split, merge, perm="[0, 1, 3, 2, 4, 5]"):
    return build(SHUFFLE.format(x=x, perm=perm), s=np.array(split), o=np.array(merge))


@pytest.mark.parametrize("case", WINDOWS)
def test_window_shuffles_become_functions_that_run(case):
    operator = case.split(",")[0]
    model = prepared(shuffle(*WINDOWS[case]))
    assert operators(model) == {"Relu": 1, operator: 1, "Sigmoid": 1}
    node = next(node for node in model.graph if node.op_type == operator)
    assert node.domain == "spacemit_functions"
    assert node.attributes.get_int("window_size") == WINDOWS[case][1][4]
    assert [function.name for function in model.functions.values()] == [operator]
    assert operators(prepared(shuffle(*WINDOWS[case]), functions=False))["Reshape"] == 2


@pytest.mark.parametrize(
    "proto",
    [
        shuffle("2,6,9,4", [2, 2, 3, 3, 3, 4], [12, 9, 4], "[0, 3, 1, 2, 4, 5]"),
        shuffle("2,6,6,4", [2, 2, 3, 3, 2, 4], [12, 6, 4]),
        shuffle("2,6,9,4", [2, 2, 3, 3, 3, 4], [12, 36]),
        shuffle("2,54,4", [2, 2, 3, 3, 3, 4], [12, 9, 4]),
    ],
    ids=["another permutation", "no square", "windows flattened", "no image"],
)
def test_other_shuffles_stay(proto):
    assert untouched(proto, windows.rules)


HEAD = """g (float[1,{channels},12] b, float[1,3,12] c{more}) => (float[] y) {{
    {distances}
    lt = Slice (d, zero, two, one) rb = Slice (d, two, four, one)
    x1 = Sub (anchors, lt) x2 = Add (anchors, rb)
    sum = Add (x1, x2) mid = Div (sum, half) wh = Sub (x2, x1)
    box = Concat <axis = 1> (mid, wh) boxes = Mul (box, strides)
    s = Sigmoid (c) y = Concat <axis = 1> (boxes, s{rest})
}}"""
BINS = """r = Reshape (b, grid) t = Transpose <perm = [0, 2, 1, 3]> (r) p = Softmax <axis = {axis}> (t)
    e = Conv (p, w) d = Reshape (e, flat)"""


def head(bins: int = 8, axis: int = 1, more: str = "", rest: str = "", distances: str | None = None):
    numbers = {"zero": [0], "one": [1], "two": [2], "four": [4]}
    weights = {name: np.array(value) for name, value in numbers.items()}
    if distances is None:
        distances = BINS.format(axis=axis)
        weights |= {"grid": np.array([1, 4, bins, 12]), "flat": np.array([1, 4, 12])}
        weights["w"] = np.arange(bins, dtype=F32).reshape(1, bins, 1, 1)
    weights |= {"anchors": draw(1, 2, 12), "strides": np.abs(draw(1, 12)), "half": np.array(2, F32)}
    text = HEAD.format(channels=4 * bins, distances=distances, more=more, rest=rest)
    return build(text, **weights)


def decode_node(model):
    return next(node for node in model.graph if node.op_type == "YoloDecode")


def test_a_head_with_bins_becomes_one_node():
    model = prepared(head())
    assert operators(model) == {"Concat": 1, "YoloDecode": 1}
    node = decode_node(model)
    assert (node.domain, len(node.inputs)) == ("spacemit_functions", 5)
    assert node.attributes.get_int("num_class") == 3
    assert node.attributes.get_int("reg_max") == 8
    assert "YoloDecode" not in operators(prepared(head(), functions=False))


def test_a_head_without_bins_becomes_one_node():
    model = prepared(head(bins=1, distances="d = Identity (b)"))
    assert operators(model) == {"Concat": 1, "YoloDecode": 1}
    assert decode_node(model).attributes.get_int("reg_max") == 1


def test_what_a_head_hands_out_besides_stays_beside_it():
    model = prepared(head(more=", float[1,5,12] masks", rest=", masks"))
    assert operators(model) == {"Concat": 2, "YoloDecode": 1}


def test_boxes_and_classes_that_were_split_are_read_where_they_were_one():
    proto = head()
    graph = proto.graph
    whole = onnx.helper.make_tensor_value_info("whole", onnx.TensorProto.FLOAT, [1, 35, 12])
    del graph.input[:]
    graph.input.append(whole)
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([32, 3]), "sizes"))
    graph.node.insert(0, onnx.helper.make_node("Split", ["whole", "sizes"], ["b", "c"], axis=1))
    model = prepared(proto)
    assert operators(model) == {"YoloDecode": 1}
    assert decode_node(model).inputs[0].name == "whole"


def test_a_softmax_over_something_else_stays_before_the_head():
    model = prepared(head(axis=2))
    assert operators(model)["Softmax"] == 1
    assert decode_node(model).attributes.get_int("reg_max") == 1


def test_classes_without_a_sigmoid_stay():
    proto = head()
    next(node for node in proto.graph.node if node.op_type == "Sigmoid").op_type = "Softmax"
    assert "YoloDecode" not in operators(prepared(proto))


def test_boxes_that_are_read_elsewhere_stay():
    proto = head()
    proto.graph.output.append(onnx.helper.make_tensor_value_info("boxes", onnx.TensorProto.FLOAT, [1, 4, 12]))
    assert "YoloDecode" not in operators(prepared(proto))


SCALE = """r{i} = Reshape (x{i}, split{i}) t{i} = Transpose <perm = [0, 1, 3, 4, 2]> (r{i})
    s{i} = Sigmoid (t{i})
    a{i}, b{i}, c{i} = Split <axis = 4> (s{i}, parts)
    d{i} = Mul (a{i}, two) e{i} = Add (d{i}, grid{i}) f{i} = Mul (e{i}, stride{i})
    h{i} = Mul (b{i}, two) j{i} = Pow (h{i}, two) k{i} = Mul (j{i}, anchors{i})
    l{i} = Concat <axis = 4> (f{i}, k{i}, c{i}) m{i} = Reshape (l{i}, flat{i})
"""


def anchored(scales: str = "01", extra: str = "") -> onnx.ModelProto:
    weights = {"two": np.array(2, F32), "parts": np.array([2, 2, 3])}
    for i in scales:
        side = 4 // (int(i) + 1)
        weights |= {
            f"split{i}": np.array([1, 3, 7, side, side]),
            f"flat{i}": np.array([1, 3 * side * side, 7]),
            f"grid{i}": draw(1, 3, side, side, 2),
            f"stride{i}": np.array(8 * 2 ** int(i), F32),
            f"anchors{i}": np.abs(draw(1, 3, side, side, 2, seed=int(i))),
        }
    inputs = ", ".join(f"float[1,21,{4 // (int(i) + 1)},{4 // (int(i) + 1)}] x{i}" for i in scales)
    nodes = "".join(SCALE.format(i=i) for i in scales)
    joined = ", ".join(f"m{i}" for i in scales)
    return build(
        f"g ({inputs}) => (float[] y{extra}) {{ {nodes} y = Concat <axis = 1> ({joined}) }}", **weights
    )


def test_a_head_with_anchors_becomes_one_node():
    model = prepared(anchored())
    assert operators(model) == {"YoloDecode": 1}
    assert [value.name for value in decode_node(model).inputs[:2]] == ["x0", "x1"]
    assert "YoloDecode" not in operators(prepared(anchored(), functions=False))


def test_a_head_with_anchors_that_hands_out_one_scale_stays():
    assert "YoloDecode" not in operators(prepared(anchored(extra=", float[] m0")))


LOCAL = """
<domain: "local", opset_import: ["" : 17]>
Gate <slope> (v) => (w) { s = HardSigmoid <alpha: float = @slope> (v) w = Mul (v, s) }
"""


@pytest.mark.parametrize("opset", [None, 13, 17, 20])
def test_functions_of_the_model_survive_everything(opset):
    proto = build(
        """g (float[1,3,8,8] x) => (float[] y) {
            h = Conv (x, w) k = local.Gate <slope = 0.25> (h) y = Relu (k)
        }""",
        functions=LOCAL,
        w=draw(4, 3, 3, 3),
    )
    model = prepared(proto, opset=opset)
    assert operators(model) == {"Conv": 1, "Gate": 1, "Relu": 1}
    assert [node.op_type for node in next(iter(model.functions.values()))] == ["HardSigmoid", "Mul"]
    assert model.opset_imports["local"] == 1


ANCHORED = LOCAL.replace("HardSigmoid <alpha: float = @slope> (v)", "ReduceMean <axes = [1]> (v)").replace(
    "<slope>", ""
)


def test_the_opset_stays_when_a_function_would_mean_something_else(caplog):
    caplog.set_level("INFO")
    proto = build(
        "g (float[1,3,8,8] x) => (float[] y) { s = Sigmoid (x) m = Mul (x, s) y = local.Gate (m) }",
        functions=ANCHORED,
    )
    model = prepared(proto)
    assert model.opset_imports[""] == 17
    assert "operator ReduceMean in function local.Gate is another there" in caplog.text
    with pytest.raises(ModelError, match="cannot convert opset 17 to 20: operator ReduceMean in function"):
        prepare(load_model(proto), opset=20)
