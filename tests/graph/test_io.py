from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.models import conv_net
from xslim.errors import ModelError, OutputError
from xslim.graph.io import load_model, save_model, to_proto, weight_bytes
from xslim.graph.validate import check_model


def tiny(nodes, inputs=("x",), outputs=("y",), opset: int | None = 17, initializers=()) -> onnx.ModelProto:
    def value(name):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])

    graph = helper.make_graph(
        nodes, "g", [value(n) for n in inputs], [value(n) for n in outputs], initializers
    )
    imports = [] if opset is None else [helper.make_opsetid("", opset)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def node(op, inputs, outputs):
    return helper.make_node(op, inputs, outputs)


def test_a_model_goes_through_memory_and_file_unchanged(tmp_path: Path):
    proto = conv_net()
    save_model(load_model(proto), tmp_path / "deep" / "er" / "a.onnx")
    again = load_model(tmp_path / "deep" / "er" / "a.onnx")
    assert to_proto(again).SerializeToString() == to_proto(load_model(proto)).SerializeToString()
    onnx.checker.check_model(str(tmp_path / "deep" / "er" / "a.onnx"), full_check=True)
    assert [file.name for file in (tmp_path / "deep" / "er").iterdir()] == ["a.onnx"]


def test_loading_from_a_proto_leaves_the_proto_alone():
    proto = conv_net()
    before = proto.SerializeToString(deterministic=True)
    model = load_model(proto)
    for value in list(model.graph.initializers.values()):
        value.name = f"renamed.{value.name}"
    to_proto(model)
    assert proto.SerializeToString(deterministic=True) == before


def test_external_data_is_mapped_and_written_beside_the_model(tmp_path: Path):
    proto = conv_net()
    model = load_model(proto)
    save_model(model, tmp_path / "big.onnx", external_above=100)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["big.onnx", "big.onnx.data"]
    again = load_model(tmp_path / "big.onnx")
    assert any(type(v.const_value).__name__ == "ExternalTensor" for v in again.graph.initializers.values())
    assert weight_bytes(again) == weight_bytes(model)
    save_model(again, tmp_path / "inside.onnx")
    x = {"x": np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)}
    expected = ort.InferenceSession(proto.SerializeToString()).run(None, x)
    for name in ("big.onnx", "inside.onnx"):
        actual = ort.InferenceSession(tmp_path / name).run(None, x)
        np.testing.assert_array_equal(actual[0], expected[0])
    (tmp_path / "big.onnx.data").unlink()
    assert load_model(tmp_path / "inside.onnx")
    with pytest.raises(ModelError, match=r"big\.onnx\.data.* is missing"):
        load_model(tmp_path / "big.onnx")


def test_a_model_can_be_saved_over_the_external_data_it_reads(tmp_path: Path):
    save_model(load_model(conv_net()), tmp_path / "a.onnx", external_above=100)
    before = (tmp_path / "a.onnx.data").read_bytes()
    save_model(load_model(tmp_path / "a.onnx"), tmp_path / "a.onnx", external_above=100)
    assert (tmp_path / "a.onnx.data").read_bytes() == before


def test_nodes_out_of_order_are_sorted():
    model = load_model(tiny([node("Relu", ["a"], ["y"]), node("Neg", ["x"], ["a"])]))
    assert [n.op_type for n in model.graph] == ["Neg", "Relu"]


SOUND = tiny([node("Relu", ["x"], ["y"])])
UNSOUND = {
    "reads tensor 'q', which nothing produces": tiny([node("Add", ["x", "q"], ["y"])]),
    "output 'y' is produced by no node": tiny([node("Relu", ["x"], ["z"])]),
    "cycle: a <- b <- a": tiny(
        [node("Add", ["x", "b"], ["a"]), node("Relu", ["a"], ["b"]), node("Relu", ["b"], ["y"])]
    ),
    "'y' is redeclared": tiny([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])]),
    "'x' is produced 2 times": tiny([node("Relu", ["x"], ["y"])], inputs=("x", "x")),
    "unknown opset 99": tiny([node("Relu", ["x"], ["y"])], opset=99),
    "imports no ONNX opset": tiny([node("Relu", ["x"], ["y"])], opset=None),
    "it has no graph": onnx.ModelProto(ir_version=8),
}


@pytest.mark.parametrize("message", UNSOUND)
@pytest.mark.filterwarnings("ignore")
def test_an_unsound_graph_is_refused(message, tmp_path: Path):
    with pytest.raises(ModelError, match=message):
        load_model(UNSOUND[message])
    file = tmp_path / "m.onnx"
    file.write_bytes(UNSOUND[message].SerializeToString())
    with pytest.raises(ModelError, match=message) as caught:
        load_model(file)
    assert str(caught.value).startswith(str(file))


@pytest.mark.parametrize("length", [1, 17, 100, 1000])
def test_a_file_that_is_cut_short_is_refused(length, tmp_path: Path):
    whole = conv_net().SerializeToString()
    file = tmp_path / "m.onnx"
    file.write_bytes(whole[:-length])
    with pytest.raises(ModelError, match="cut short"):
        load_model(file)


@pytest.mark.parametrize("content", [b"", b"hello, this is text", bytes(range(255, 0, -1))])
def test_a_file_that_is_no_model_is_refused(content, tmp_path: Path):
    file = tmp_path / "m.onnx"
    file.write_bytes(content)
    with pytest.raises(ModelError, match="not an ONNX"):
        load_model(file)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path):
    with pytest.raises(ModelError, match="No such file"):
        load_model(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="Is a directory"):
        load_model(tmp_path)


def test_external_data_that_is_cut_short_is_refused(tmp_path: Path):
    save_model(load_model(conv_net()), tmp_path / "a.onnx", external_above=100)
    data = tmp_path / "a.onnx.data"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(ModelError, match="is cut short: tensor"):
        load_model(tmp_path / "a.onnx")


def test_an_initializer_with_too_few_bytes_is_refused():
    weight = numpy_helper.from_array(np.ones(2, np.float32), "w")
    weight.raw_data = b"123"
    with pytest.raises(ModelError, match="initializer 'w' holds 3 bytes, not 8"):
        load_model(tiny([node("Add", ["x", "w"], ["y"])], initializers=[weight]))


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file" / "m.onnx", tmp_path):
        with pytest.raises(OutputError, match="cannot write"):
            save_model(load_model(SOUND), place)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file"]


def test_checking_a_sound_model_changes_nothing():
    model = load_model(conv_net())
    before = to_proto(model).SerializeToString()
    check_model(model)
    assert to_proto(model).SerializeToString() == before


def test_reading_a_constant_twice_copies_nothing(tmp_path: Path):
    proto = conv_net()
    node = helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(np.ones(2000, np.float32)))
    half = TensorProto(name="h", data_type=TensorProto.BFLOAT16, dims=[2], raw_data=b"\x80\x3f\x00\x40")
    proto.graph.node.insert(0, node)
    proto.graph.initializer.append(half)
    onnx.save(proto, tmp_path / "m.onnx")
    model = load_model(tmp_path / "m.onnx")
    tensors = [value.const_value for value in model.graph.initializers.values() if value.name != "h"]
    tensors += [node.attributes["value"].as_tensor() for node in model.graph if node.op_type == "Constant"]
    assert len(tensors) > 3
    for tensor in tensors:
        assert np.shares_memory(tensor.numpy(), tensor.numpy())
    # Types that numpy does not have are kept as they are.
    assert model.graph.initializers["h"].const_value.tobytes() == half.raw_data


@pytest.mark.parametrize("constant", [False, True])
def test_values_that_do_not_fill_their_shape_are_left_to_onnxruntime(constant: bool):
    short = TensorProto(name="k", data_type=TensorProto.FLOAT, dims=[4], float_data=[1.0, 2.0])
    nodes = [helper.make_node("Add", ["x", "k"], ["y"], name="add")]
    if constant:
        nodes.insert(0, helper.make_node("Constant", [], ["k"], value=short))
    shape = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4])
    graph = helper.make_graph(nodes, "g", [shape], [result], [] if constant else [short])
    model = load_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    assert len(model.graph) == len(nodes)
