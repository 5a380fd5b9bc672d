from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from xslim.graph.io import load_model
from xslim.graph.stream import _varint, write_streaming

LARGE = 200


def proto(dtype: type[np.generic]) -> onnx.ModelProto:
    weight = (np.arange(LARGE * LARGE) % 100).reshape(LARGE, LARGE).astype(dtype)
    small = np.arange(3).astype(dtype)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"]), helper.make_node("Identity", ["s"], ["z"])],
        "net",
        [],
        [
            helper.make_tensor_value_info(
                "y", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), [LARGE, LARGE]
            ),
            helper.make_tensor_value_info("z", helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), [3]),
        ],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(small, "s")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.int64])
def test_a_streamed_file_is_the_same_model(dtype: type[np.generic], tmp_path: Path) -> None:
    source = proto(dtype)
    model = load_model(source)
    write_streaming(model, tmp_path / "streamed.onnx")
    read = onnx.load(tmp_path / "streamed.onnx")
    onnx.checker.check_model(read)
    assert [node.op_type for node in read.graph.node] == ["Identity", "Identity"]
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in read.graph.initializer}
    for tensor in source.graph.initializer:
        np.testing.assert_array_equal(stored[tensor.name], numpy_helper.to_array(tensor))
    assert read.graph.initializer[-1].data_type in (TensorProto.DataType.values())
    assert list(model.graph.initializers) == ["w", "s"]


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_streaming(load_model(proto(np.float32)), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_external_weights_are_streamed(tmp_path: Path) -> None:
    onnx.save(proto(np.float32), tmp_path / "in.onnx", save_as_external_data=True, location="in.data")
    write_streaming(load_model(tmp_path / "in.onnx"), tmp_path / "out.onnx")
    (tmp_path / "in.data").unlink()
    assert ir.load(tmp_path / "out.onnx").graph.initializers["w"].const_value is not None
    assert onnx.load(tmp_path / "out.onnx").graph.initializer[-1].raw_data


@given(st.integers(0, 2**64 - 1))
def test_varints_read_back(number: int) -> None:
    found = sum((byte & 0x7F) << (7 * index) for index, byte in enumerate(_varint(number)))
    assert found == number
    assert [bool(byte & 0x80) for byte in _varint(number)][-1] is False
