"""Operators unknown to onnxruntime are kept; models with them calibrate only up to these operators."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx
import pytest
from onnx import helper

import xslim
from tests.cli.workspace import Workspace, make_workspace
from xslim.errors import ModelError

MISSING = "onnxruntime has no operator vendor.Decode"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """The small model with an operator of a vendor at its end."""
    made = make_workspace(tmp_path)
    proto = onnx.load(made.model)
    proto.graph.node[-1].output[0] = "logits"
    proto.graph.node.append(helper.make_node("Decode", ["logits"], ["y"], domain="vendor", name="decode"))
    proto.opset_import.append(helper.make_opsetid("vendor", 3))
    made.set_model(proto)
    return made


def operators(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("level", [3, 4, 100])
def test_conversions_keep_it_and_say_that_nothing_was_run(
    workspace: Workspace, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"quantization_parameters": {"precision_level": level}}
    result = xslim.quantize_onnx_model(config, workspace.model, workspace.folder / "result.onnx")
    assert f"{MISSING}: the result is neither run nor compared" in caplog.text
    last = next(node for node in result.graph.node if node.op_type == "Decode")
    assert (last.domain, last.name, list(last.output)) == ("vendor", "decode", ["y"])
    assert {item.domain: item.version for item in result.opset_import}["vendor"] == 3


def test_calibration_is_refused_with_what_to_do(workspace: Workspace) -> None:
    before = workspace.files()
    with pytest.raises(ModelError, match=MISSING) as caught:
        xslim.quantize_onnx_model(workspace.config)
    assert "truncate_var_names" in (caught.value.hint or "")
    assert workspace.files() == before


def test_what_lies_before_it_is_quantised(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    workspace.section("quantization").update(truncate_var_names=["logits"], analysis_enable=True)
    result = xslim.quantize_onnx_model(workspace.config)
    assert "QuantizeLinear" in operators(result)
    assert operators(result)[-1] == "Decode"
    assert f"{MISSING}: the result is neither run nor compared" in caplog.text
    assert (workspace.output / "net.q_report.json").is_file()


def test_a_function_of_the_model_is_no_unknown_operator(workspace: Workspace) -> None:
    proto = onnx.load(workspace.model)
    body = [helper.make_node("Sigmoid", ["a"], ["b"])]
    opsets = [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("vendor", "Decode", ["a"], ["b"], body, opsets))
    workspace.set_model(proto)
    result = xslim.quantize_onnx_model(workspace.config)
    assert operators(result)[-1] == "Decode"
