"""Runs on models with outputs whose shape depends on values, as behind non-maximum suppression."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

import xslim
from tests.cli.workspace import Workspace, make_workspace


def choosing(proto: onnx.ModelProto, tensor: str) -> onnx.ModelProto:
    """Add the output ``found``: the values of a tensor that a fast wave selects; rounding selects others."""
    proto.graph.node.extend(
        [
            helper.make_node("Constant", [], ["fast"], value_float=1e4, name="fast"),
            helper.make_node("Constant", [], ["zero"], value_float=0.0, name="zero"),
            helper.make_node("Flatten", [tensor], ["flat"], axis=0, name="flat"),
            helper.make_node("Mul", ["flat", "fast"], ["phase"], name="phase"),
            helper.make_node("Sin", ["phase"], ["wave"], name="wave"),
            helper.make_node("Greater", ["wave", "zero"], ["over"], name="over"),
            helper.make_node("Squeeze", ["over"], ["chosen"], name="chosen"),
            helper.make_node("Compress", ["flat", "chosen"], ["found"], axis=1, name="compress"),
        ]
    )
    proto.graph.output.append(helper.make_tensor_value_info("found", TensorProto.FLOAT, [1, "count"]))
    onnx.checker.check_model(proto, full_check=True)
    return proto


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = make_workspace(tmp_path)
    made.set_model(choosing(onnx.load(made.model), "r2"))
    made.section("quantization")["analysis_enable"] = True
    return made


@pytest.mark.parametrize("other_output", [True, False])
@pytest.mark.parametrize("finetune_level", [0, 1, 3])
def test_the_run_succeeds_and_says_what_it_could_not_compare(
    workspace: Workspace, finetune_level: int, other_output: bool, caplog: pytest.LogCaptureFixture
) -> None:
    if not other_output:
        proto = onnx.load(workspace.model)
        del proto.graph.output[0]
        workspace.set_model(proto)
    workspace.section("quantization")["finetune_level"] = finetune_level
    result = xslim.quantize_onnx_model(workspace.config)
    assert "found: its shape depends on values and differs" in caplog.text
    assert result.graph.output[-1].type.tensor_type.shape.dim[1].dim_param == "count"
    report = (workspace.output / "net.q_report.json").read_text("utf-8")
    assert ('"name": "y"' in report) == other_output


def test_a_cut_before_it_measures_what_is_quantised(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    workspace.section("quantization").update(finetune_level=1, truncate_var_names=["r2"])
    result = xslim.quantize_onnx_model(workspace.config)
    assert "found: its shape depends on values and differs" in caplog.text
    compress = next(node for node in result.graph.node if node.op_type == "Compress")
    assert compress.name == "compress"
    assert [value.name for value in result.graph.output] == ["y", "found"]
