"""Inconsistent tensors are refused."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.promises.unusual import parsed
from xslim.errors import ModelError
from xslim.graph.io import load_model


@pytest.mark.parametrize(
    ("message", "indices", "shape"),
    [
        ("indices that do not fit", [0, 16], (4, 4)),
        ("indices that do not fit", [-1, 3], (4, 4)),
        ("indices that do not fit", [0, 1, 2], (4, 4)),
        ("indices that do not fit", [[0, 0], [4, 0]], (4, 4)),
        ("a shape that no sparse tensor can have", [0, 1], (-4, 4)),
        ("is larger than", [0, 1], (2**40, 2**40)),
        ("is larger than", [0, 1], (2**62, 4)),
    ],
)
def test_a_sparse_tensor_that_contradicts_itself_is_refused(
    message: str, indices: list[int], shape: tuple[int, ...]
) -> None:
    model = parsed("(float[4,4] x) => (float[4,4] y) { y = Add(x, w) }")
    sparse = onnx.SparseTensorProto(dims=shape)
    sparse.values.CopyFrom(numpy_helper.from_array(np.ones(2, np.float32), "w"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.array(indices, np.int64)))
    model.graph.sparse_initializer.append(sparse)
    with pytest.raises(ModelError, match=f"sparse tensor 'w' .*{message}"):
        load_model(model)


def test_a_tensor_without_a_type_or_with_too_few_bytes_is_refused() -> None:
    untyped = onnx.TensorProto(name="w", dims=[2], raw_data=b"12345678")
    short = helper.make_tensor("w", onnx.TensorProto.FLOAT, [2], b"12345678", raw=True)
    short.dims[0] = 3
    for tensor, message in ((untyped, "has no element type"), (short, "holds 8 bytes, not 12")):
        node = helper.make_node("Constant", [], ["w"], value=tensor)
        model = parsed("(float[2] x) => (float[2] y) { y = Relu(x) }")
        model.graph.node.append(node)
        with pytest.raises(ModelError, match=message):
            load_model(model)


@pytest.mark.parametrize("equal", [True, False])
def test_initializers_of_one_name_are_kept_once_if_they_are_equal(equal: bool) -> None:
    weights = [np.ones((4, 4), np.float32), np.full((4, 4), 1 if equal else 2, np.float32)]
    model = parsed("(float[4,4] x) => (float[4,4] y) { y = Add(x, w) }")
    model.graph.initializer.extend(numpy_helper.from_array(array, "w") for array in weights)
    if equal:
        assert list(load_model(model).graph.initializers) == ["w"]
    else:
        with pytest.raises(ModelError, match="two different initializers have the name 'w'"):
            load_model(model)
