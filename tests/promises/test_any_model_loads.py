"""Any model that onnxruntime runs goes through every conversion, and none asks for more inputs afterwards."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

import xslim
from tests.passes.build import feeds, run
from tests.promises import scopes, unusual
from tests.promises.unusual import BODY, WEIGHTS, parsed
from xslim.errors import ModelError
from xslim.graph.io import load_model, to_proto
from xslim.passes import prepare

MODELS = unusual.MODELS | scopes.MODELS
CONVERSIONS = {
    "slim": (xslim.slim, 1e-5),
    "dynamic": (xslim.quantize_dynamic, 0.1),
    "fp16": (xslim.convert_fp16, 0.01),
}


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model here makes onnxruntime crash, so none needs the second that a process of its own takes."""
    monkeypatch.setattr("xslim.runtime.isolated._start", lambda memory: None)


@pytest.mark.parametrize("conversion", CONVERSIONS)
@pytest.mark.parametrize("name", MODELS)
def test_an_unusual_model_is_converted(name: str, conversion: str) -> None:
    """The result runs on the same inputs and differs by no more than a share of the largest value."""
    model = MODELS[name]
    convert, tolerance = CONVERSIONS[conversion]
    filled = {tensor.values.name for tensor in model.graph.sparse_initializer}
    inputs = {name: array for name, array in feeds(model).items() if name not in filled}
    expected = run(apart(model), inputs)
    result = convert(model)
    assert [value.name for value in result.graph.output] == [value.name for value in model.graph.output]
    for before, after in zip(expected, run(result, inputs), strict=True):
        assert after.dtype == before.dtype
        if before.dtype.kind == "f":
            finite = np.abs(before[np.isfinite(before)]).max(initial=1e-12)
            np.testing.assert_allclose(after, before, rtol=0, atol=tolerance * finite)
        else:
            np.testing.assert_array_equal(after, before)


def apart(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without names of nodes, of which onnxruntime wants different ones."""
    nameless = onnx.ModelProto()
    nameless.CopyFrom(model)
    for node in nameless.graph.node:
        node.name = ""
    return nameless


def test_the_first_of_equal_names_stays_and_others_count() -> None:
    model = scopes.named("a")
    model.graph.node[2].name = "a_1"
    assert [node.name for node in to_proto(load_model(model)).graph.node] == ["a", "a_2", "a_1"]


def test_an_operator_that_the_standard_does_not_have_yet_is_written_in_the_opset_that_is_asked_for() -> None:
    model = scopes.early_norm(11)
    result = xslim.slim(model, opset=13)
    assert {entry.domain: entry.version for entry in result.opset_import}[""] == 13
    onnx.checker.check_model(result, full_check=True)
    inputs = feeds(model)
    np.testing.assert_allclose(run(result, inputs)[0], run(model, inputs)[0], rtol=1e-4, atol=1e-5)


def test_names_that_a_foreign_operator_prescribes_stay() -> None:
    """BeamSearch finds the inputs of its decoder by name, even where the outer graph has the same names."""
    model = parsed(BODY.replace("float[1,4] y)", "float[1,4] y, float[1,4] z)"), **WEIGHTS)
    body = parsed("(float[1,8] x, float[1,16] m) => (float[1,4] r, float[1,4] y) { r = Identity(y) }").graph
    body.node.insert(0, helper.make_node("MatMul", ["m", "w2"], ["y"]))
    model.graph.node.append(helper.make_node("Search", ["x"], ["z"], domain="acme", decoder=body))
    model.opset_import.append(helper.make_opsetid("acme", 1))
    result = to_proto(prepare(load_model(model)))
    decoder = next(node for node in result.graph.node if node.op_type == "Search").attribute[0].g
    assert [value.name for value in (*decoder.input, *decoder.output)] == ["x", "m", "r", "y"]


def test_an_output_that_no_one_can_describe_lacks_a_shape_afterwards_too() -> None:
    model = parsed(BODY, **WEIGHTS)
    model.graph.node.append(helper.make_node("Magic", ["r"], ["z"], domain="acme"))
    model.opset_import.append(helper.make_opsetid("acme", 1))
    model.graph.output.append(helper.make_tensor_value_info("z", onnx.TensorProto.FLOAT, None))
    for convert, _ in CONVERSIONS.values():
        assert not convert(model).graph.output[1].type.tensor_type.HasField("shape")


def test_a_map_is_refused_with_the_option_that_avoids_it() -> None:
    model = scopes.machine_learning("LinearClassifier")
    kind = helper.make_map_type_proto(onnx.TensorProto.INT64, helper.make_tensor_type_proto(1, None))
    model.graph.output.append(helper.make_value_info("z", helper.make_sequence_type_proto(kind)))
    with pytest.raises(ModelError, match=r"'z' is a map.*zipmap"):
        xslim.slim(model)
