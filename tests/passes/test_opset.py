import numpy as np
import onnx
import pytest

from tests.passes.build import assert_same, build, draw, operators, positive
from xslim.errors import ModelError
from xslim.graph.io import load_model, to_proto
from xslim.passes import prepare


def at(proto: onnx.ModelProto, opset: int, tolerance: float = 1e-5):
    model = prepare(load_model(proto), opset=opset)
    assert model.opset_imports[""] == opset
    after = to_proto(model)
    onnx.checker.check_model(after, full_check=True)
    assert after.ir_version >= onnx.helper.find_min_ir_version_for(after.opset_import)
    assert_same(proto, after, tolerance)
    return model


NET = {
    "activations": (
        "float[2,4,6] x",
        "a = Relu (x) b = HardSwish (a) c = LeakyRelu (b) d = Erf (c) y = Clip (d, low, high)",
        {"low": np.array(-0.5, np.float32), "high": np.array(0.5, np.float32)},
    ),
    "norms": (
        "float[2,4,6] x",
        "a = LayerNormalization <axis = -1> (x, w, b) y = BatchNormalization (a, s, t, m, v)",
        {"w": draw(6), "b": draw(6), "s": draw(4), "t": draw(4), "m": draw(4), "v": positive(4)},
    ),
    "reductions": (
        "float[2,4,6] x",
        "a = ReduceMax <axes = [1], keepdims = 1> (x) b = ReduceMean <axes = [-1]> (x) "
        "c = Add (a, b) y = Softmax (c)",
        {},
    ),
    "shapes": (
        "float[2,4,6] x",
        "a = Unsqueeze (x, one) b, c = Split <axis = 2> (a, halves) d = Sub (b, c) "
        "e = Pad (d, pads) y = Reshape (e, s)",
        {
            "one": np.array([1]),
            "halves": np.array([2, 2]),
            "pads": np.array([0, 0, 0, 1, 0, 0, 0, 0]),
            "s": np.array([4, -1]),
        },
    ),
}


@pytest.mark.parametrize("opset", [13, 15, 17, 18, 21, 24, 25])
@pytest.mark.parametrize("name", NET)
def test_a_model_is_expressed_in_any_opset(name, opset):
    x, nodes, weights = NET[name]
    at(build(f"g ({x}) => (float[] y) {{ {nodes} }}", 17, **weights), opset)


@pytest.mark.parametrize(
    ("operator", "opset"),
    [("Gelu", 20), ("Mish", 18), ("Swish", 24), ("HardSwish", 14)],
    ids=lambda value: str(value),
)
def test_an_operator_that_the_opset_lacks_is_written_out(operator, opset):
    model = at(build(f"g (float[2,4] x) => (float[] y) {{ r = Neg (x) y = {operator} (r) }}", opset), 13)
    assert operator not in operators(model)


def test_axes_become_attributes_again():
    proto = build(
        "g (float[2,4,6] x) => (float[] y) { y = ReduceMean <keepdims = 0> (x, axes) }",
        18,
        axes=np.array([1]),
    )
    node = next(iter(at(proto, 17).graph))
    assert node.attributes.get_ints("axes") == (1,)
    assert len(node.inputs) == 1


REFUSED = {
    "operator GridSample does not exist in opset 13": (
        16,
        "float[1,1,4,4] x",
        "y = GridSample (x, grid)",
        {"grid": draw(1, 3, 3, 2)},
    ),
    r"GroupNormalization .* cannot be expressed in opset 18: it meant something else": (
        21,
        "float[2,4,6] x",
        "y = GroupNormalization <num_groups = 2> (x, s, t)",
        {"s": draw(4), "t": draw(4)},
    ),
    r"Reshape .* in opset 13: its attribute allowzero does not exist there": (
        17,
        "float[2,4] x, int64[2] s",
        "y = Reshape <allowzero = 1> (x, s)",
        {},
    ),
    r"ReduceMax .* in opset 17: its input axes does not exist there": (
        18,
        "float[2,4] x, int64[1] s",
        "y = ReduceMax (x, s)",
        {},
    ),
    r"AveragePool .* in opset 18: its attribute dilations does not exist there": (
        19,
        "float[1,1,9,9] x",
        "y = AveragePool <kernel_shape = [2, 2], dilations = [2, 2]> (x)",
        {},
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_an_opset_cannot_express_is_named(message):
    opset, x, nodes, weights = REFUSED[message]
    proto = build(f"g ({x}) => (float[] y) {{ {nodes} }}", opset, **weights)
    target = int(message.split("opset ")[1].split(":")[0])
    with pytest.raises(ModelError, match=message):
        prepare(load_model(proto), opset=target)


@pytest.mark.parametrize("target", [0, 7, 12, 999])
def test_an_opset_out_of_reach_is_refused(target):
    proto = build("g (float[2,4] x) => (float[] y) { y = Relu (x) }")
    with pytest.raises(ModelError, match="opset"):
        prepare(load_model(proto), opset=target)


def test_an_old_model_is_raised_to_what_per_channel_quantisation_needs(caplog):
    caplog.set_level("INFO")
    proto = build(
        "g (float[1,3,8,8] x) => (float[] y) { h = Conv (x, w) y = Clip <min = 0.0, max = 6.0> (h) }",
        9,
        w=draw(4, 3, 3, 3),
    )
    model = prepare(load_model(proto))
    assert model.opset_imports[""] == 13
    assert "opset 9 -> 13: the least that the result needs" in caplog.text
    assert_same(proto, to_proto(model))
    assert prepare(load_model(proto), minimum_opset=1).opset_imports[""] == 9


def test_custom_domains_keep_their_imports():
    proto = build("g (float[2,4] x) => (float[] y) { a = Relu (x) y = Neg (a) }")
    proto.graph.node[1].domain = "com.example"
    proto.opset_import.append(onnx.helper.make_opsetid("com.example", 3))
    for target in (13, 17, 20):
        model = prepare(load_model(proto), opset=target)
        assert model.opset_imports == {"": target, "com.example": 3}
        assert operators(model) == {"Relu": 1, "Neg": 1}


def test_scan_with_a_batch_axis_is_not_converted():
    proto = build(
        """g (float[1,2] s, float[1,3,2] x) => (float[1,2] t, float[1,3,2] y) {
            t, y = Scan <num_scan_inputs = 1,
                         body = b (float[2] before, float[2] next) => (float[2] after, float[2] out) {
                after = Add (before, next) out = Identity (after)
            }> ("", s, x)
        }""",
        8,
    )
    with pytest.raises(ModelError, match="Scan has a batch axis before opset 9"):
        prepare(load_model(proto))
    assert operators(prepare(load_model(proto), minimum_opset=8)) == {"Scan": 1}
