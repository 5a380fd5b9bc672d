"""Models without their weights give the same sessions."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from xslim.graph.detached import detach
from xslim.graph.io import load_model, to_proto
from xslim.runtime import Session


def product(weight: np.ndarray, cast: int | None = None) -> ir.Model:
    nodes = [helper.make_node("MatMul", ["x", "w" if cast is None else "wf"], ["y"])]
    if cast is not None:
        nodes.insert(0, helper.make_node("Cast", ["w"], ["wf"], to=cast))
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2, weight.shape[0]])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, weight.shape[1]])],
        [numpy_helper.from_array(weight, "w")],
    )
    return load_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10))


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("transposed", [False, True])
def test_a_session_reads_detached_weights(transposed: bool) -> None:
    model = product(random(64, 48))
    if transposed:
        view = random(48, 64).T
        model.graph.initializers["w"].const_value = ir.Tensor(view, name="w")
    before = to_proto(model).SerializeToString()
    data, weights = detach(model)
    assert list(weights) == ["w"]
    assert len(data) < 1000
    assert to_proto(model).SerializeToString() == before
    feeds = {"x": random(2, 64)}
    np.testing.assert_array_equal(Session(model).run(feeds)[0], Session(before).run(feeds)[0])


def test_weights_are_not_copied() -> None:
    weight = random(64, 48)
    model = product(weight)
    model.graph.initializers["w"].const_value = ir.Tensor(weight, name="w")
    assert np.shares_memory(detach(model)[1]["w"], weight)


def test_small_weights_and_types_that_numpy_lacks_stay_inside() -> None:
    assert not detach(product(random(4, 4)))[1]
    model = product(random(64, 48).astype(ml_dtypes.bfloat16), cast=onnx.TensorProto.FLOAT)
    data, weights = detach(model)
    assert not weights
    assert len(data) > 64 * 48 * 2
