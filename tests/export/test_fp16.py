from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.export.running import count, draw, prepared, run, sqnr_db
from tests.models import conv_net, mlp, model
from xslim.export.decisions import Conversion
from xslim.export.fp16 import convert_to_half
from xslim.export.fp16_constants import LARGEST, WORST_ROUNDING, range_problem, to_half
from xslim.graph.io import load_model, save_model
from xslim.passes import prepare
from xslim.targets import load_target

HALF = ir.DataType.FLOAT16


def convert(
    proto: onnx.ModelProto, target: str = "spacemit", *, wide: Collection[str] = (), **kept: str
) -> Conversion:
    return convert_to_half(prepared(proto, minimum_opset=1), load_target(target), kept, wide)


def types(result: Conversion) -> dict[str, bool]:
    """Whether each operator computes in float16, judged by what the graph says."""
    return {
        node.name or "": any(
            value is not None and value.dtype == HALF for value in (*node.inputs, *node.outputs)
        )
        for node in result.model.graph
        if node.op_type != "Cast"
    }


def reason(result: Conversion, name: str) -> str:
    (found,) = [item.reason for item in result.decisions if item.name == name and not item.converted]
    return found


def chain(*nodes: onnx.NodeProto, weights: dict[str, NDArray[np.generic]] | None = None) -> onnx.ModelProto:
    """A model from `x` to `y`, both (2, 8)."""
    return model(list(nodes), {"x": [2, 8]}, {"y": [2, 8]}, weights)


@pytest.mark.parametrize("target", ["spacemit", "generic"])
@pytest.mark.parametrize("proto", [conv_net(), mlp()], ids=["conv_net", "mlp"])
def test_everything_is_half_between_two_casts(proto: onnx.ModelProto, target: str) -> None:
    result = convert(proto, target)
    assert all(types(result).values())
    assert count(result.model, "Cast") == 2
    assert [value.dtype for value in (*result.model.graph.inputs, *result.model.graph.outputs)] == [
        ir.DataType.FLOAT,
        ir.DataType.FLOAT,
    ]
    assert result.model.graph.outputs[0].name == "y"
    feeds = {"x": draw(1, *(dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim))}
    assert sqnr_db(run(proto, feeds)[0], run(result.model, feeds)[0]) > 55


def test_kept_operators_are_float_and_casts_are_not_doubled() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="before"),
        helper.make_node("Softmax", ["a"], ["b"], name="softmax"),
        helper.make_node("Sigmoid", ["a"], ["c"], name="sigmoid"),
        helper.make_node("Tanh", ["a"], ["d"], name="tanh"),
        helper.make_node("Sum", ["b", "c", "d"], ["y"], name="sum"),
    ]
    proto = chain(*nodes)
    result = convert(proto, softmax="asked for", sigmoid="asked for")
    assert types(result) == {"before": True, "softmax": False, "sigmoid": False, "tanh": True, "sum": True}
    # In: x. Out of float16: one for both readers. Into it: one for each kept result. Out: y.
    assert count(result.model, "Cast") == 5
    assert reason(result, "softmax") == "asked for"
    feeds = {"x": draw(1, 2, 8)}
    assert sqnr_db(run(proto, feeds)[0], run(result.model, feeds)[0]) > 55


def test_moves_between_float_operators_stay_float() -> None:
    nodes = [
        helper.make_node("Softmax", ["x"], ["a"], name="softmax"),
        helper.make_node("Transpose", ["a"], ["b"], name="move"),
        helper.make_node("Transpose", ["b"], ["c"], name="back", perm=[1, 0]),
        helper.make_node("Sigmoid", ["c"], ["d"], name="sigmoid"),
        helper.make_node("Relu", ["d"], ["y"], name="relu"),
    ]
    nodes[2] = helper.make_node("Reshape", ["b", "s"], ["c"], name="back")
    proto = chain(*nodes, weights={"s": np.array([2, 8], np.int64)})
    result = convert(proto, softmax="asked for", sigmoid="asked for")
    assert not types(result)["move"]
    assert count(result.model, "Cast") == 2


def test_constants_beyond_half_keep_their_operator_and_what_follows_until_it_is_bounded() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "large"], ["a"], name="scale"),
        helper.make_node("Transpose", ["a"], ["b"], name="move"),
        helper.make_node("Softmax", ["b"], ["c"], name="softmax"),
        helper.make_node("MatMul", ["x", "c"], ["d"], name="product"),
        helper.make_node("MatMul", ["d", "x"], ["y"], name="relu"),
    ]
    proto = chain(*nodes, weights={"large": draw(1, 8) * 1e6})
    result = convert(proto)
    assert types(result) == {"scale": False, "move": False, "softmax": False, "product": True, "relu": True}
    assert "outside the range of fp16" in reason(result, "scale")
    feeds = {"x": draw(1, 2, 8)}
    assert np.isfinite(run(result.model, feeds)[0]).all()


def test_a_small_epsilon_is_not_lost() -> None:
    nodes = [
        helper.make_node("Mul", ["x", "zero"], ["a"], name="nothing"),
        helper.make_node("Add", ["a", "eps"], ["b"], name="guard"),
        helper.make_node("Div", ["x", "b"], ["y"], name="div"),
    ]
    weights = {"zero": np.full(8, 2.0, np.float32), "eps": np.array(1e-12, np.float32)}
    result = convert(chain(*nodes, weights=weights))
    assert "too small for fp16" in reason(result, "guard")
    assert not types(result)["guard"]


def test_bounds_may_become_infinite() -> None:
    node = helper.make_node("Clip", ["x", "low", "high"], ["y"], name="clip")
    weights = {"low": np.array(0, np.float32), "high": np.array(3.4e38, np.float32)}
    result = convert(chain(node, weights=weights))
    assert all(types(result).values())
    feeds = {"x": draw(1, 2, 8)}
    np.testing.assert_allclose(run(result.model, feeds)[0], np.maximum(feeds["x"], 0), rtol=1e-3)


def test_tensors_known_to_be_wide_keep_the_operators_around_them() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="writer"),
        helper.make_node("Sigmoid", ["a"], ["b"], name="reader"),
        helper.make_node("Tanh", ["b"], ["y"], name="other"),
    ]
    result = convert(chain(*nodes), wide={"a"})
    assert types(result) == {"writer": False, "reader": False, "other": True}


def test_whole_number_inputs_and_casts() -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["e"], name="lookup"),
        helper.make_node("Cast", ["mask"], ["m"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["e", "m"], ["p"], name="product"),
        helper.make_node("ReduceSum", ["p", "axis"], ["y"], name="sum", keepdims=0),
    ]
    weights = {"table": draw(1, 10, 8), "axis": np.array([1], np.int64)}
    proto = model(
        nodes, {"ids": [1, 4], "mask": [1, 4, 1]}, {"y": [1, 8]}, weights, input_type=TensorProto.INT64
    )
    result = convert(proto)
    assert all(types(result).values())
    # The Cast of the model writes float16 itself; one more stands before the output.
    assert count(result.model, "Cast") == 2
    feeds = {"ids": np.array([[1, 2, 3, 9]]), "mask": np.array([[[1], [0], [1], [1]]])}
    assert sqnr_db(run(proto, feeds)[0], run(result.model, feeds)[0]) > 60


def test_resize_keeps_float_scales() -> None:
    node = helper.make_node(
        "Resize", ["x", "", "scales"], ["y"], name="resize", mode="linear",
        coordinate_transformation_mode="half_pixel",
    )  # fmt: skip
    weights = {"scales": np.array([1, 1, 2, 2], np.float32)}
    proto = model([node], {"x": [1, 2, 4, 4]}, {"y": [1, 2, 8, 8]}, weights)
    result = convert(proto)
    (resize,) = [node for node in result.model.graph if node.op_type == "Resize"]
    assert [value.dtype for value in resize.inputs if value is not None] == [HALF, ir.DataType.FLOAT]
    feeds = {"x": draw(1, 1, 2, 4, 4)}
    assert sqnr_db(run(proto, feeds)[0], run(result.model, feeds)[0]) > 60


def test_operators_without_half_stay_float() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="relu"),
        helper.make_node("Softsign", ["a"], ["b"], name="listed"),
        helper.make_node("CumSum", ["b", "axis"], ["y"], name="unlisted"),
    ]
    result = convert(chain(*nodes, weights={"axis": np.array(1, np.int64)}))
    assert types(result) == {"relu": True, "listed": True, "unlisted": False}
    assert "spacemit has no CumSum" in reason(result, "unlisted")


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "min", "max"])
@pytest.mark.parametrize("operator", ["ScatterND", "ScatterElements"])
def test_what_the_host_has_no_kernel_for_stays_float(operator: str, reduction: str) -> None:
    """onnxruntime adds to scattered float16 values in no way; the result runs whatever the attribute."""
    indices = np.zeros((1, 1) if operator == "ScatterND" else (1, 8), np.int64)
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="relu"),
        helper.make_node(operator, ["a", "i", "u"], ["y"], name="scatter", reduction=reduction),
    ]
    weights = {"i": indices, "u": np.full((1, 8), 2, np.float32)}
    proto = model(nodes, {"x": [2, 8]}, {"y": [2, 8]}, weights, opset=18)
    feeds = {"x": draw(1, 2, 8)}
    result = convert(proto, "generic")
    assert types(result)["relu"]
    assert sqnr_db(run(proto, feeds)[0], run(result.model, feeds)[0]) > 55


def branches() -> onnx.ModelProto:
    """An If whose bodies read a tensor of the main graph."""
    weight = numpy_helper.from_array(draw(3, 8, 8), "w")
    info = helper.make_tensor_value_info("z", TensorProto.FLOAT, [2, 8])
    then = helper.make_graph([helper.make_node("MatMul", ["a", "w"], ["z"])], "then", [], [info], [weight])
    other = helper.make_graph([helper.make_node("Neg", ["a"], ["z"])], "else", [], [info])
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], name="relu"),
        helper.make_node("If", ["flag"], ["b"], name="choice", then_branch=then, else_branch=other),
        helper.make_node("Sigmoid", ["b"], ["y"], name="sigmoid"),
    ]
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 8]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "net", [ports[0], flag], [ports[1]])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_bodies_of_control_flow_stay_float_and_intact() -> None:
    proto = branches()
    result = convert(proto)
    assert types(result) == {"relu": True, "choice": False, "sigmoid": True}
    bodies = [graph for graph in result.model.graphs() if graph is not result.model.graph]
    assert sorted(node.op_type for graph in bodies for node in graph) == ["MatMul", "Neg"]
    for flag in (True, False):
        feeds = {"x": draw(1, 2, 8), "flag": np.array(flag)}
        assert sqnr_db(run(proto, feeds)[0], run(result.model, feeds)[0]) > 55


def test_functions_stay_float_and_intact() -> None:
    body = [helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Exp", ["b"], ["c"])]
    function = helper.make_function("own", "F", ["a"], ["c"], body, [helper.make_opsetid("", 17)])
    nodes = [
        helper.make_node("Sigmoid", ["x"], ["a"], name="sigmoid"),
        helper.make_node("F", ["a"], ["b"], name="call", domain="own"),
        helper.make_node("Tanh", ["b"], ["y"], name="tanh"),
    ]
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 8]) for name in ("x", "y")]
    info = [helper.make_tensor_value_info("b", TensorProto.FLOAT, [2, 8])]
    graph = helper.make_graph(nodes, "net", ports[:1], ports[1:], value_info=info)
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    proto = helper.make_model(graph, opset_imports=imports, ir_version=8, functions=[function])
    result = convert_to_half(load_model(proto), load_target(), {}, ())
    assert types(result)["call"] is False
    assert len(result.model.functions) == 1
    feeds = {"x": draw(1, 2, 8)}
    assert sqnr_db(run(proto, feeds)[0], run(result.model, feeds)[0]) > 55


def test_the_source_stays_unchanged() -> None:
    source = prepared(conv_net())
    before = ir.to_proto(source).SerializeToString(deterministic=True)
    convert_to_half(source, load_target())
    assert ir.to_proto(source).SerializeToString(deterministic=True) == before


finite = arrays.arrays(
    np.float32,
    st.integers(1, 40),
    elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=True),
)


@given(finite)
def test_a_range_problem_is_an_overflow_or_a_loss_beyond_rounding(array: NDArray[np.float32]) -> None:
    problem = range_problem(array)
    exact = array.astype(np.float64)
    error = exact - to_half(array).astype(np.float64)
    if problem is None:
        assert np.isfinite(error).all()
        assert error @ error <= 1.001 * WORST_ROUNDING * (exact @ exact) or not exact.any()
    elif problem.overflows:
        assert np.abs(array).max() > LARGEST
    else:
        assert error @ error > WORST_ROUNDING * (exact @ exact)


def test_infinities_are_no_problem() -> None:
    assert range_problem(np.array([-np.inf, 1.0, np.nan], np.float32)) is None
    assert range_problem(np.array([np.inf], np.float32)) is None
    assert range_problem(np.zeros(0, np.float32)) is None


def test_weights_in_a_file_are_rounded_when_they_are_written(tmp_path: Path) -> None:
    proto = mlp(width=64)
    onnx.save(
        mlp(width=64), tmp_path / "in.onnx", save_as_external_data=True, location="in.data", size_threshold=0
    )
    source = prepare(load_model(tmp_path / "in.onnx"))
    result = convert_to_half(source, load_target()).model
    save_model(result, tmp_path / "out.onnx")
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(tmp_path / "out.onnx").graph.initializer}
    expected = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    np.testing.assert_array_equal(stored["w1_fp16"], expected["w1"].astype(np.float16))
    feeds = {"x": draw(1, 1, 64)}
    assert sqnr_db(run(proto, feeds)[0], run(onnx.load(tmp_path / "out.onnx"), feeds)[0]) > 55
