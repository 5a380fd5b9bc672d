"""Tests of ``xslim plan`` and ``xslim check`` through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests import models
from tests.cli.workspace import Workspace, make_workspace
from tests.quantization.build import graph, normal
from xslim.cli import main


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path / "space")


def test_plan_says_what_every_operator_becomes_and_runs_nothing(
    space: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    space.set_model(models.conv_net())
    space.section("quantization")["ignore_op_names"] = ["conv2"]
    space.listing.unlink()
    config, file = space.write_config(), space.folder / "plan.json"
    assert main(["plan", "-c", str(config), "-o", str(file)]) == 0
    text = capsys.readouterr().out
    assert "float Conv" in text
    assert "conv2 -> c2: listed in ignore_op_names" in text
    assert f"wrote {file}" in text
    plan = json.loads(file.read_text("utf-8"))
    operators = {item["name"]: item for item in plan["operators"]}
    assert operators["relu1"] == {
        "name": "relu1",
        "op_type": "Relu",
        "int8": True,
        "reason": "applied by conv1",
        "outputs": ["r1"],
    }
    assert not operators["conv2"]["int8"]
    assert plan["target"] == "spacemit"
    assert 0 < plan["int8_share"] < 1
    assert plan["qdq_pairs"] == sum(len(group["tensors"]) for group in plan["groups"])
    assert {item["tensor"] for item in plan["constants"]} == {"w1", "w3"}


def test_plan_writes_beside_the_output_by_default(
    space: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    config = space.write_config()
    assert main(["plan", "-c", str(config), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    before = set(space.folder.rglob("*_plan.json"))
    assert main(["plan", "-c", str(config)]) == 0
    (written,) = set(space.folder.rglob("*_plan.json")) - before
    assert json.loads(written.read_text("utf-8")) == printed


def test_plan_shows_a_custom_setting(space: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    space.set_model(models.conv_net())
    space.section("quantization")["custom_setting"] = [
        {"input_names": ["p1"], "output_names": ["y"], "precision_level": 4}
    ]
    assert main(["plan", "-c", str(space.write_config())]) == 0
    text = capsys.readouterr()
    assert "custom_setting: precision level 4 is float in a static run" in text.out
    assert "quantization_parameters.custom_setting[0] covers 5 of 8 operators" in text.err


def test_plan_and_check_fit_a_terminal(
    space: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    space.set_model(models.conv_net())
    space.section("quantization")["ignore_op_names"] = ["*"]
    config, model = str(space.write_config()), str(models.save(models.conv_net(), space.folder / "net.onnx"))
    for command in (["plan", "-c", config], ["check", model]):
        main(command)
        whole = capsys.readouterr().out
        monkeypatch.setattr("sys.stdout.isatty", lambda: True)
        main(command)
        folded = capsys.readouterr().out
        monkeypatch.undo()
        monkeypatch.setenv("COLUMNS", "60")
        assert max(map(len, whole.splitlines())) > 60
        assert max(len(line) for line in folded.splitlines() if str(space.folder) not in line) <= 60
        assert whole.split() == folded.split()


def test_check_names_products_that_stay_float(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """(float[2,4] x) => (float[2,4] y) {
        q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
        v = DequantizeLinear(w, s, z) a = MatMul(d, v) f = MatMul(a, u) t = Sin(f) y = MatMul(t, v)
    }"""
    weights = {"s": np.float32(0.1), "z": np.int8(0), "w": np.ones((4, 4), np.int8), "u": normal(1, 4, 4)}
    file = models.save(graph(text, weights, opset=19), tmp_path / "net.onnx")
    assert main(["check", str(file)]) == 1
    text = capsys.readouterr().out
    assert "sums of products in float: 2\n     2  MatMul: f, y\n" in text
    assert "float-input: MatMul: its weight is quantised but its input is float: y" in text
    assert text.endswith("failed: Q/DQ patterns that do not fuse (1)\n")


@pytest.mark.parametrize("level", [3, 4, 100])
def test_levels_without_a_plan_are_refused(
    space: Workspace, level: int, capsys: pytest.CaptureFixture[str]
) -> None:
    space.section("quantization")["precision_level"] = level
    assert main(["plan", "-c", str(space.write_config())]) == 2
    assert f"precision level {level}" in capsys.readouterr().err


def test_check_passes_a_float_model_that_the_provider_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = models.save(models.residual_net(), tmp_path / "net.onnx")
    status = main(["check", str(file)])
    text = capsys.readouterr().out
    # The exporter of this model left kernel_shape out, which the provider needs.
    assert status == 1
    assert "spacemit needs kernel_shape stated: stem, conv2, conv3" in text
    assert text.endswith("failed: sums of products that fall back to the CPU (3)\n")


def test_check_can_guard_a_build(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proto = graph("(float[2,4] x) => (float[2,4] y) { y = MatMul(x, w) }", {"w": normal(1, 4, 4)})
    file = models.save(proto, tmp_path / "net.onnx")
    assert main(["check", str(file), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["passed"] is True
    assert result["subgraphs"] == 1
    assert result["taken_share"] == 1
    assert [node["refusal"] for node in result["nodes"]] == [None]


def test_check_knows_its_targets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = models.save(models.float_only_net(), tmp_path / "net.onnx")
    assert main(["check", str(file), "--target", "generic"]) == 0
    assert "CPUExecutionProvider takes 1 of 1 operators" in capsys.readouterr().out
    assert main(["check", str(file), "--target", "k2"]) == 2


def test_int8_models_of_a_run_pass(space: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    space.set_model(models.conv_net())
    space.section("quantization").update(
        finetune_level=0, analysis_enable=False, target="generic", bias_type="int32"
    )
    assert main(["-c", str(space.write_config()), "--quiet"]) == 0
    (model,) = space.output.glob("*.onnx")
    capsys.readouterr()
    assert main(["check", str(model)]) == 0
    assert "100.0% of the multiply-accumulates, 100.0% in int8" in capsys.readouterr().out


def test_shares_say_where_shapes_are_not_known(
    space: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = """(float[A,B] x, int64[K] shape) => (float y) {
        a = MatMul(x, w) r = Reshape(a, shape) y = MatMul(r, r)
    }"""
    file = models.save(graph(text, {"w": normal(1, 4, 4)}), tmp_path / "net.onnx")
    main(["check", str(file)])
    assert "in int8 (where shapes are known)\n" in capsys.readouterr().out
    main(["plan", "-c", str(space.write_config()), "-i", str(file)])
    assert "are int8 (where shapes are known)\n" in capsys.readouterr().out
