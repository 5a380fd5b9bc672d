from collections import Counter

import numpy as np
import onnx
import pytest

from tests.models import conv_net
from tests.passes.build import assert_same, build, draw, operators, positive
from xslim.graph.io import load_model, to_proto
from xslim.passes import prepare, slimming

F32 = np.float32


def prepared(proto: onnx.ModelProto, tolerance: float = 1e-5, **arguments):
    model = prepare(load_model(proto), **arguments)
    after = to_proto(model)
    onnx.checker.check_model(after, full_check=True)
    assert_same(proto, after, tolerance)
    return model


def interface(model) -> list:
    return [(value.name, value.dtype, value.shape) for value in (*model.graph.inputs, *model.graph.outputs)]


@pytest.mark.parametrize("skip_slim", [False, True])
def test_shape_arithmetic_dropout_and_identities_disappear(skip_slim):
    proto = build(
        """g (float[2,3,4,4] x) => (float[] y) {
            c = Conv (x, w) i = Identity (c) d, mask = Dropout (i) s = Shape (d) n = Gather (s, zero)
            u = Unsqueeze (n, axes) t = Concat <axis = 0> (u, rest) y = Reshape (d, t)
        }""",
        w=draw(4, 3, 3, 3),
        zero=np.array(0),
        axes=np.array([0]),
        rest=np.array([-1]),
    )
    model = prepared(proto, skip_slim=skip_slim)
    assert operators(model) == {"Conv": 1, "Reshape": 1}
    assert all(value.shape is not None for node in model.graph for value in node.outputs)


def test_the_interface_never_changes():
    proto = build(
        """g (float[N,3,H,W] x, float[2] unused, int64[N] count)
            => (float[N,4,a,b] y, int64[N] again) {
            c = Conv <pads = [1, 1, 1, 1]> (x, w) y = Relu (c) again = Identity (count)
        }""",
        w=draw(4, 3, 3, 3),
    )
    before = load_model(proto)
    after = prepare(before)
    assert interface(after) == interface(before)
    assert_same(proto, to_proto(after))


def test_an_output_that_is_constant_or_an_input_stays():
    proto = build(
        """g (float[2] x) => (float[2] same, float[2] fixed, float[2] y) {
            same = Identity (x) fixed = Add (c, c) y = Relu (x)
        }""",
        c=draw(2),
    )
    prepared(proto)


def test_the_model_that_is_given_stays_as_it_is():
    model = load_model(conv_net())
    before = to_proto(model).SerializeToString(deterministic=True)
    prepare(model)
    assert to_proto(model).SerializeToString(deterministic=True) == before


def test_the_same_model_gives_the_same_bytes_and_is_at_rest_after_one_pass():
    proto = conv_net("batch")
    once = to_proto(prepare(load_model(proto)))
    assert to_proto(prepare(load_model(proto))).SerializeToString() == once.SerializeToString()
    assert operators(prepare(load_model(once))) == operators(once)


def test_every_node_has_a_name_of_its_own_and_keeps_the_one_it_had():
    proto = build(
        """g (float[1,3,8,8] x) => (float[] y) {
            a = Conv (x, w) b = BatchNormalization (a, s, s, s, v) c = Relu (b) d = Conv (c, u) y = Relu (d)
        }""",
        w=draw(4, 3, 3, 3),
        u=draw(4, 4, 3, 3),
        s=draw(4),
        v=positive(4),
    )
    for node, name in zip(proto.graph.node, ["first", "bn", "", "", "twin"], strict=True):
        node.name = name
    names = [node.name for node in prepared(proto).graph]
    assert len(set(names)) == len(names) == 4
    assert names[0] == "first", "the folded convolution is still the user's convolution"
    assert names[3] == "twin"
    assert all(names)


def test_initializers_that_are_listed_as_inputs_are_constants():
    proto = build(
        "g (float[1,3,8,8] x) => (float[] y) { c = Conv (x, w) y = Mul (c, s) }",
        9,
        w=draw(4, 3, 3, 3),
        s=draw(4, 1, 1),
    )
    proto.ir_version = 3
    for initializer in proto.graph.initializer:
        info = onnx.helper.make_tensor_value_info(initializer.name, initializer.data_type, initializer.dims)
        proto.graph.input.append(info)
    model = prepared(proto)
    assert [value.name for value in model.graph.inputs] == ["x"]
    assert operators(model) == {"Conv": 1}


def test_equal_initializers_are_kept_once_and_shared_ones_stay_shared():
    proto = build(
        "g (float[1,4,8,8] x) => (float[] y) { a = Conv (x, w) b = Relu (a) y = Conv (b, u) }",
        w=draw(4, 4, 3, 3),
        u=draw(4, 4, 3, 3),
    )
    assert len(prepared(proto).graph.initializers) == 1
    proto.graph.initializer[1].CopyFrom(onnx.numpy_helper.from_array(draw(4, 4, 3, 3, seed=1), "u"))
    assert len(prepared(proto).graph.initializers) == 2


def test_missing_kernel_shapes_are_stated():
    model = prepared(conv_net())
    convolutions = [node for node in model.graph if node.op_type == "Conv"]
    assert convolutions
    assert all(node.attributes.get_ints("kernel_shape") == (3, 3) for node in convolutions)


def test_bodies_of_control_flow_are_kept_and_cleaned():
    proto = build(
        """g (float[1,4,6,6] x, bool flag) => (float[] y) {
            r = Relu (x)
            y = If (flag) <
                then_branch = t () => (float[1,4,4,4] p) { i = Identity (r) a = Conv (i, w) p = Mul (a, s) },
                else_branch = e () => (float[1,4,4,4] q) { b = Conv (x, w) q = Neg (b) }
            >
        }""",
        w=draw(4, 4, 3, 3),
        s=draw(4, 1, 1),
    )
    model = prepared(proto)
    assert operators(model) == {"Relu": 1, "If": 1}
    bodies = [attribute.as_graph() for node in model.graph for attribute in node.attributes.values()]
    inner = Counter(node.op_type for body in bodies for node in body)
    assert inner == {"Conv": 2, "Mul": 1, "Neg": 1}, "without Identity; both convolutions share one weight"


def test_a_loop_survives():
    proto = build(
        """g (float[3] x) => (float[3] y) {
            y = Loop (times, keep, x) <body = b (int64 i, bool go, float[3] v) => (bool next, float[3] w) {
                next = Identity (go) h = Add (v, v) w = Mul (h, half)
            }>
        }""",
        times=np.array(3),
        keep=np.array(True),
        half=np.array([0.75], F32),
    )
    assert operators(prepared(proto)) == {"Loop": 1}


@pytest.mark.parametrize("batch", [2, "N"])
def test_symbolic_shapes_work_throughout(batch):
    proto = build(
        f"""g (float[{batch},4,6] x) => (float[] y) {{
            m = ReduceMean <axes = [-1]> (x) d = Sub (x, m) q = Pow (d, two) v = ReduceMean <axes = [-1]> (q)
            e = Add (v, eps) r = Sqrt (e) n = Div (d, r) s = Mul (n, w) t = Add (s, b)
            p = MatMul (t, u) o = Add (p, k) g1 = Sigmoid (o) y = Mul (o, g1)
        }}""",
        two=np.array(2, F32),
        eps=np.array(1e-5, F32),
        w=draw(6),
        b=draw(6),
        u=draw(6, 5),
        k=draw(5),
    )
    model = prepared(proto)
    assert operators(model) == {"LayerNormalization": 1, "MatMul": 1, "Add": 1, "Swish": 1}
    assert str(model.graph.inputs[0].shape[0]) == str(batch)


def test_a_failing_onnxslim_is_reported_and_left_out(monkeypatch, caplog):
    import onnxslim

    def fail(*_arguments, **_options):
        raise RuntimeError("no luck")

    monkeypatch.setattr(onnxslim, "slim", fail)
    assert operators(slimming.run_onnxslim(load_model(conv_net())))["Conv"] == 2
    assert "onnxslim failed and was left out: RuntimeError: no luck" in caplog.text


def test_onnxslim_never_sees_the_weights(monkeypatch):
    import onnxslim

    seen = []
    real = onnxslim.slim

    def spy(proto, **options):
        seen.append(max((tensor.ByteSize() for tensor in proto.graph.initializer), default=0))
        return real(proto, **options)

    monkeypatch.setattr(onnxslim, "slim", spy)
    proto = conv_net()
    after = slimming.run_onnxslim(load_model(proto))
    assert_same(proto, to_proto(after), tolerance=0)
    assert seen[0] < 100
    assert set(after.graph.initializers) == {tensor.name for tensor in proto.graph.initializer}


def test_an_unknown_custom_operator_is_kept():
    proto = build("g (float[2,4] x) => (float[2,4] y) { a = Relu (x) b = Relu (a) y = Neg (b) }")
    proto.graph.node[2].domain = "com.example"
    proto.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    model = prepare(load_model(proto))
    assert operators(model) == {"Relu": 1, "Neg": 1}
    assert model.opset_imports["com.example"] == 1
