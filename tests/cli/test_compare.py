"""The figures of ``xslim compare`` equal those of numpy, for every kind of data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from tests import models
from tests.cli.workspace import SHAPE, Workspace, make_workspace
from xslim.cli import main


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = make_workspace(tmp_path)
    models.save(models.conv_net("batch"), made.model)
    other = onnx.load(made.model)
    bias = next(item for item in other.graph.initializer if item.name == "b3")
    shifted = onnx.numpy_helper.to_array(bias) + np.linspace(0, 0.3, 10, dtype=np.float32)
    bias.CopyFrom(onnx.numpy_helper.from_array(shifted.astype(np.float32), "b3"))
    models.save(other, tmp_path / "other.onnx")
    made.write_config()
    return made


def compare(workspace: Workspace, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert (
        main(["compare", str(workspace.model), str(workspace.folder / "other.onnx"), "--json", *arguments])
        == 0
    )
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def run(path: Path, batch: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    result: np.ndarray = session.run(None, {"x": batch})[0]
    return result


@pytest.mark.parametrize("kind", ["config", "list", "folder", "npz"])
def test_figures(workspace: Workspace, capsys: pytest.CaptureFixture[str], kind: str) -> None:
    files = sorted((workspace.folder / "data").glob("*.npy"))
    batch = np.concatenate([np.load(file).reshape(SHAPE) for file in files])
    np.savez(workspace.folder / "batch.npz", x=batch)
    places = {
        "config": workspace.folder / "config.json",
        "list": workspace.listing,
        "folder": workspace.folder / "data",
        "npz": workspace.folder / "batch.npz",
    }
    found = compare(workspace, capsys, "--data", str(places[kind]))
    a, b = run(workspace.model, batch), run(workspace.folder / "other.onnx", batch)
    (output,) = found["outputs"]
    assert found["samples"] == len(files)
    assert output["name"] == "y"
    assert output["sqnr_db"] == pytest.approx(10 * np.log10((a**2).sum() / ((a - b) ** 2).sum()), rel=1e-4)
    assert output["cosine"] == pytest.approx((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()), rel=1e-5)
    assert output["max_abs_error"] == pytest.approx(np.abs(a - b).max(), rel=1e-4)
    assert output["top1_agreement"] == pytest.approx((a.argmax(1) == b.argmax(1)).mean())


def test_a_model_equals_itself(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(workspace.model), str(workspace.model)]) == 0
    out = capsys.readouterr().out
    assert "exact" in out
    assert "1 sample of random numbers" in out


def test_at_most_so_many_samples(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    found = compare(workspace, capsys, "--data", str(workspace.listing), "--samples", "2")
    assert found["samples"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--samples", "0"], "--samples"),
        (["--data", "missing.txt"], "no such list file"),
        (["--data", "missing.npz"], "cannot read"),
    ],
)
def test_bad_arguments(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["compare", str(workspace.model), str(workspace.model), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_models_with_other_inputs(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    models.save(models.model(
        [onnx.helper.make_node("Relu", ["z"], ["y"])], {"z": [1, 3]}, {"y": [1, 3]}
    ), workspace.folder / "third.onnx")  # fmt: skip
    assert main(["compare", str(workspace.model), str(workspace.folder / "third.onnx")]) == 2
    assert "different inputs: x and z" in capsys.readouterr().err


def quantized(workspace: Workspace) -> Path:
    path = workspace.folder / "int8.onnx"
    assert main(["-c", str(workspace.folder / "config.json"), "-o", str(path), "--quiet"]) == 0
    return path


@pytest.mark.parametrize(("least", "status"), [(5.0, 0), (90.0, 1)])
def test_a_wanted_signal_to_noise_ratio_guards_a_build(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], least: float, status: int
) -> None:
    models_ = [str(workspace.model), str(workspace.folder / "other.onnx")]
    data = ["--data", str(workspace.folder / "data")]
    assert main(["compare", *models_, *data, "--fail-below", str(least)]) == status
    assert ("below the wanted 90 dB" in capsys.readouterr().err) == bool(status)


def test_the_epilogue_of_the_provider_is_simulated(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = [str(workspace.model), str(quantized(workspace))]
    arguments = ["compare", *pair, "--data", str(workspace.folder / "data"), "--simulate", "spacemit"]
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (plain,), (chip,) = found["outputs"], found["simulated"]
    assert plain["name"] == chip["name"] == "y"
    assert chip["mse"] != plain["mse"]
    assert chip["sqnr_db"] == pytest.approx(plain["sqnr_db"], abs=3)
    assert found["overflows"] == []
    assert main(arguments) == 0
    assert "a model of the chip, not a measurement" in capsys.readouterr().out


METRIC = """
import numpy as np

def spread(run):
    return float(run({"x": np.ones((2, 3, 8, 8), np.float32)})["y"].std())

def broken(run):
    raise KeyError("labels")
"""


def test_a_metric_of_the_user_rates_both_models(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    path = workspace.folder / "rating.py"
    path.write_text(METRIC, "utf-8")
    found = compare(workspace, capsys, "--metric", f"{path}:spread")
    ones = np.ones((2, 3, 8, 8), np.float32)
    expected = [run(model, ones).std() for model in (workspace.model, workspace.folder / "other.onnx")]
    assert found["metric"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rating.py:broken", "the metric raised KeyError"),
        ("rating.py:missing", "the file has no function 'missing'"),
        ("rating.py", 'must be "path/to/file.py:function"'),
        ("nowhere.py:spread", "there is no such file"),
    ],
)
def test_a_wrong_metric(
    name: str, message: str, workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    (workspace.folder / "rating.py").write_text(METRIC, "utf-8")
    pair = [str(workspace.model), str(workspace.folder / "other.onnx")]
    assert main(["compare", *pair, "--metric", str(workspace.folder / name)]) == 2
    assert message in capsys.readouterr().err
