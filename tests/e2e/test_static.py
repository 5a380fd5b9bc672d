"""Whole static runs write the same bytes through every interface and overwrite or leave no other file."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import xslim
from tests import models
from tests.cli.workspace import SHAPE, Workspace, collect_in_two, make_workspace
from xslim.cli import main


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = make_workspace(tmp_path)
    models.save(models.residual_net("batch"), made.model)
    return made


def output(workspace: Workspace, prefix: str = "net.q") -> bytes:
    return (workspace.output / f"{prefix}.onnx").read_bytes()


def test_command_line_and_api_write_the_same_bytes(workspace: Workspace) -> None:
    assert main(["-c", str(workspace.write_config()), "--quiet"]) == 0
    expected = output(workspace)
    proto = xslim.quantize_onnx_model(
        workspace.config, onnx.load(workspace.model), workspace.folder / "api.onnx"
    )
    assert (workspace.folder / "api.onnx").read_bytes() == expected
    assert proto == onnx.load_from_string(expected)


@pytest.mark.parametrize("finetune_level", [0, 1, 3])
def test_the_number_of_threads_does_not_matter(workspace: Workspace, finetune_level: int) -> None:
    workspace.config["quantization_parameters"]["finetune_level"] = finetune_level
    config = str(workspace.write_config())
    written = []
    for threads in ("1", "3"):
        command = [sys.executable, "-m", "xslim", "-c", config, "-o", str(workspace.folder / threads)]
        subprocess.run(command, check=True, env={**os.environ, "XSLIM_THREADS": threads})
        written.append((workspace.folder / threads / "net.q.onnx").read_bytes())
    assert written[0] == written[1]


@pytest.mark.parametrize("finetune_level", [0, 1])
def test_shards_give_the_bytes_of_the_undivided_run(workspace: Workspace, finetune_level: int) -> None:
    workspace.config["quantization_parameters"]["finetune_level"] = finetune_level
    config = str(workspace.write_config())
    assert main(["-c", config, "--quiet"]) == 0
    expected = output(workspace)
    shards, folder = collect_in_two(workspace, config), workspace.folder / "joined"
    assert main(["quantize", "-c", config, "--sketch", *shards, "-o", str(folder), "--quiet"]) == 0
    assert (folder / "net.q.onnx").read_bytes() == expected


def test_another_method_searches_without_running_the_model(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["-c", str(workspace.write_config()), "--quiet"]) == 0
    fresh = copy.deepcopy(workspace.config)
    workspace.config["calibration_parameters"]["calibration_type"] = "minmax"
    assert main(["-c", str(workspace.write_config())]) == 0
    assert "sketches of an earlier run fit" in capfd.readouterr().err
    reused = output(workspace)
    fresh["calibration_parameters"]["calibration_type"] = "minmax"
    fresh["model_parameters"]["working_dir"] = str(workspace.folder / "fresh")
    xslim.quantize_onnx_model(fresh)
    assert (workspace.folder / "fresh" / "net.q.onnx").read_bytes() == reused


def test_the_input_is_never_overwritten(workspace: Workspace) -> None:
    before = workspace.model.read_bytes()
    workspace.config["model_parameters"].update(working_dir=str(workspace.folder), output_prefix="net")
    config = str(workspace.write_config())
    assert main(["-c", config, "--quiet"]) == 0
    assert main(["-c", config, "-i", str(workspace.model), "-o", str(workspace.model), "--quiet"]) == 0
    assert workspace.model.read_bytes() == before
    assert (workspace.folder / "net.q.onnx").is_file()


def relative_error(model: onnx.ModelProto, reference: onnx.ModelProto) -> float:
    feed = {"x": np.random.default_rng(5).standard_normal(SHAPE).astype(np.float32)}
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    found, wanted = (
        ort.InferenceSession(m.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(
            None, feed
        )[0]
        for m in (model, reference)
    )
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("method", ["default", "kl", "minmax", "percentile", "mse"])
@pytest.mark.parametrize("level", [0, 1, 2])
def test_every_method_and_level_stays_near_the_float_model(
    workspace: Workspace, method: str, level: int
) -> None:
    workspace.config["calibration_parameters"]["calibration_type"] = method
    workspace.config["quantization_parameters"]["precision_level"] = level
    model = xslim.quantize_onnx_model(workspace.config)
    stored = {t.name: t.data_type for t in model.graph.initializer}
    assert onnx.TensorProto.INT8 in stored.values()
    assert relative_error(model, onnx.load(workspace.model)) < 0.1


MODELS: dict[str, Any] = {
    "conv": models.conv_net,
    "mlp": models.mlp,
    "depthwise": models.depthwise_net,
    "residual": models.residual_net,
}


@pytest.mark.parametrize("name", MODELS)
def test_the_interface_stays(workspace: Workspace, name: str) -> None:
    float_model = MODELS[name]("batch")
    if name == "mlp":
        models.write_samples(workspace.listing.parent, (1, 16), 3)
    models.save(float_model, workspace.model)
    quantised = xslim.quantize_onnx_model(json.loads(json.dumps(workspace.config)))
    for field in ("input", "output"):
        assert [str(v) for v in getattr(quantised.graph, field)] == [
            str(v) for v in getattr(float_model.graph, field)
        ]
