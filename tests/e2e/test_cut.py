"""Static runs of the first part of a model keep the rest float and write the whole model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

import xslim
from tests import models
from tests.cli.workspace import SHAPE, Workspace, collect_in_two, make_workspace
from xslim.cli import main
from xslim.errors import ConfigError, ModelError

CUT = ["p1"]
QDQ = {"QuantizeLinear", "DequantizeLinear"}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = make_workspace(tmp_path)
    made.section("quantization")["truncate_var_names"] = CUT
    return made


def behind(model: onnx.ModelProto, *tensors: str) -> list[onnx.NodeProto]:
    """The operators that depend on the tensors."""
    reached, found = set(tensors), []
    for node in model.graph.node:
        if reached & set(node.input):
            found.append(node)
            reached.update(node.output)
    return found


def constants(model: onnx.ModelProto) -> Mapping[str, bytes]:
    return {tensor.name: tensor.SerializeToString() for tensor in model.graph.initializer}


def distance(model: onnx.ModelProto, reference: onnx.ModelProto, shapes: Mapping[str, Any]) -> float:
    """Relative error of the first output on normal input, both models in onnxruntime."""
    random = np.random.default_rng(5)
    feed = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    found, wanted = (
        ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feed)[0]
        for proto in (model, reference)
    )
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("finetune_level", [0, 1, 2])
@pytest.mark.parametrize("precision_level", [0, 2])
def test_the_first_part_is_int8_and_the_second_is_untouched(
    workspace: Workspace, precision_level: int, finetune_level: int
) -> None:
    workspace.section("quantization").update(
        precision_level=precision_level, finetune_level=finetune_level, analysis_enable=True
    )
    original = onnx.load(workspace.model)
    whole = xslim.quantize_onnx_model(workspace.config)
    onnx.checker.check_model(whole, full_check=True)
    assert [str(v) for v in (*whole.graph.input, *whole.graph.output)] == [
        str(v) for v in (*original.graph.input, *original.graph.output)
    ]

    rest = behind(whole, *CUT)
    assert [node.op_type for node in rest] == [node.op_type for node in behind(original, *CUT)]
    before, after = constants(original), constants(whole)
    assert all(after[name] == before[name] for node in rest for name in node.input if name in after)

    first = [node for node in whole.graph.node if node not in rest]
    assert {node.op_type for node in first} >= QDQ
    types = {tensor.name: tensor.data_type for tensor in whole.graph.initializer}
    assert TensorProto.INT8 in {types.get(name) for node in first for name in node.input}

    assert 0 < distance(whole, original, {"x": SHAPE}) < 0.05


def test_the_report_is_about_the_first_part(workspace: Workspace) -> None:
    workspace.section("quantization")["analysis_enable"] = True
    xslim.quantize_onnx_model(workspace.config)
    report = json.loads((workspace.output / "net.q_report.json").read_text("utf-8"))
    assert [output["name"] for output in report["outputs"]] == CUT
    assert {row["op_type"] for row in report["constants"]} == {"Conv"}
    assert report["model"]["float_bytes"] == sum(
        onnx.numpy_helper.to_array(tensor).nbytes
        for tensor in onnx.load(workspace.model).graph.initializer
        if tensor.name in ("w1", "b1")
    )


def test_an_input_that_only_the_second_part_reads(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], name="conv"),
        helper.make_node("Flatten", ["c"], ["f"], name="flatten"),
        helper.make_node("MatMul", ["f", "m"], ["p"], name="project"),
        helper.make_node("Mul", ["p", "scale"], ["y"], name="rescale"),
    ]
    weights = {"w": models.draw(1, 4, 3, 3, 3), "m": models.draw(2, 144, 5)}
    proto = models.model(nodes, {"image": SHAPE, "scale": [1, 5]}, {"y": [1, 5]}, weights)
    models.save(proto, tmp_path / "net.onnx")
    listings = {
        "image": models.write_samples(tmp_path / "image", SHAPE, 16),
        "scale": models.write_samples(tmp_path / "scale", (1, 5), 16),
    }
    config = {
        "model_parameters": {"onnx_model": str(tmp_path / "net.onnx"), "working_dir": str(tmp_path / "out")},
        "calibration_parameters": {
            "input_parameters": [
                {"input_name": name, "file_type": "npy", "data_list_path": str(path)}
                for name, path in listings.items()
            ]
        },
        "quantization_parameters": {"truncate_var_names": ["p"]},
    }
    whole = xslim.quantize_onnx_model(config)
    assert [value.name for value in whole.graph.input] == ["image", "scale"]
    assert [node.op_type for node in behind(whole, "p", "scale")] == ["Mul"]
    assert distance(whole, proto, {"image": SHAPE, "scale": (1, 5)}) < 0.05


def test_shards_and_the_plan_follow_the_cut(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    config = str(workspace.write_config())
    assert main(["-c", config, "--quiet"]) == 0
    expected = (workspace.output / "net.q.onnx").read_bytes()
    shards, folder = collect_in_two(workspace, config), workspace.folder / "joined"
    assert main(["quantize", "-c", config, "--sketch", *shards, "-o", str(folder), "--quiet"]) == 0
    assert (folder / "net.q.onnx").read_bytes() == expected
    capfd.readouterr()

    assert main(["plan", "-c", config, "--json"]) == 0
    plan = json.loads(capfd.readouterr().out)
    reasons = {operator["name"]: operator["reason"] for operator in plan["operators"]}
    assert set(reasons) == {node.name for node in onnx.load(workspace.model).graph.node}
    cut_off = {name for name, reason in reasons.items() if reason == "behind truncate_var_names"}
    assert cut_off == {"conv2", "relu2", "gap", "flatten", "fc"}
    assert not any(operator["int8"] for operator in plan["operators"] if operator["name"] in cut_off)
    assert 0 < plan["int8_share"] < 1

    # Shards of another cut are of another model.
    workspace.section("quantization")["truncate_var_names"] = ["r1"]
    config = str(workspace.write_config())
    assert main(["quantize", "-c", config, "--sketch", *shards, "-o", str(folder), "--quiet"]) == 2


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["nowhere"], "no tensor 'nowhere'"),
        (["p1", "p1"], "'p1' is given twice"),
        (["y"], "nothing behind the cut reads 'y'"),
        (["x"], "'x' is an input"),
    ],
)
def test_a_cut_that_is_none_is_refused_and_nothing_is_written(
    workspace: Workspace, names: list[str], words: str
) -> None:
    workspace.section("quantization")["truncate_var_names"] = names
    workspace.write_config()
    before = workspace.files()
    with pytest.raises(ModelError, match=words):
        xslim.quantize_onnx_model(workspace.config)
    assert workspace.files() == before


def test_a_cut_that_something_passes_names_what_does(workspace: Workspace) -> None:
    models.save(models.residual_net(), workspace.model)
    workspace.section("quantization")["truncate_var_names"] = ["r2"]
    with pytest.raises(ModelError, match="'r1' cross the cut"):
        xslim.quantize_onnx_model(workspace.config)


def test_a_region_behind_the_cut_is_refused(workspace: Workspace) -> None:
    workspace.section("quantization")["custom_setting"] = [
        {"input_names": ["p1"], "output_names": ["r2"], "precision_level": 1}
    ]
    with pytest.raises(ConfigError, match="no tensor 'r2'"):
        xslim.quantize_onnx_model(workspace.config)
