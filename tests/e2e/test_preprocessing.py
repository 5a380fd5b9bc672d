"""Preprocessing is measured: ``init`` writes what the model learnt, and a run warns if it differs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper

import xslim
from tests import models
from xslim.cli import main
from xslim.config import load_config
from xslim.graph.io import load_model
from xslim.pipeline.preprocessing import judge_preprocessing
from xslim.runtime import Isolated

QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "quickstart"
WARNING = "another preprocessing suits the model clearly better"


@pytest.fixture
def digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    ignored = shutil.ignore_patterns("output", "__pycache__")
    monkeypatch.chdir(shutil.copytree(QUICKSTART, tmp_path / "digits", ignore=ignored))
    return tmp_path / "digits"


def accuracy(model: Path, mean: float, std: float) -> float:
    held_back = np.load(QUICKSTART / "held_back.npz")
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    images = (held_back["images"][:, None].astype(np.float32) - np.float32(mean)) / np.float32(std)
    return float(np.mean(session.run(None, {"image": images})[0].argmax(1) == held_back["labels"]))


def run(digits: Path, **fields: Any) -> None:
    """Quantise with other fields of the input; the log goes to stderr."""
    config = json.loads((digits / "config.json").read_text("utf-8"))
    config["calibration_parameters"]["input_parametres"][0] |= fields
    config["quantization_parameters"] |= {"finetune_level": 0, "analysis_enable": False}
    (digits / "config.json").write_text(json.dumps(config), "utf-8")
    assert main(["-c", str(digits / "config.json")]) == 0


def test_the_path_of_the_readme_ends_at_the_accuracy_of_the_float_model(digits: Path) -> None:
    start = digits / "start.json"
    arguments = ["--data", str(digits / "calibration"), "-o", str(start)]
    assert main(["init", str(digits / "digits.onnx"), *arguments]) == 0
    (entry,) = load_config(start).calibration_parameters.input_parameters
    assert entry.mean_value == pytest.approx((78,), abs=8)
    assert entry.std_value == pytest.approx((96,), abs=8)
    assert "from the first BatchNormalization" in start.read_text("utf-8")
    assert main(["-c", str(start), "--quiet"]) == 0
    assert accuracy(digits / "digits.q.onnx", entry.mean_value[0], entry.std_value[0]) > 0.98


def test_wrong_scale_is_a_warning(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(digits, mean_value=[0], std_value=[255])
    log = capsys.readouterr().err
    assert WARNING in log
    numbers = log.split("mean_value [")[1].split("]")[0]
    assert float(numbers) == pytest.approx(78, abs=8)


def test_right_scale_is_no_warning(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(digits)
    log = capsys.readouterr().err
    assert WARNING not in log
    assert "mean_value and std_value suit the model" in log


@pytest.mark.parametrize("scale", [1.0, 1 / 255])
def test_pixels_from_memory_that_are_not_normalised_are_a_warning(scale: float) -> None:
    images = np.load(QUICKSTART / "held_back.npz")["images"][:32, None].astype(np.float32)
    result = xslim.quantize(QUICKSTART / "digits.onnx", images * np.float32(scale), finetune_level=0)
    (warning,) = [text for text in result.warnings if WARNING in text]
    mean = float(warning.split("(x - [")[1].split("]")[0])
    assert mean == pytest.approx(78 * scale, abs=8 * scale)
    report = result.report.data
    assert report.findings[0].code == "preprocessing.measured"
    assert not report.findings[0].change, "the arrays are made outside of the configuration"
    assert report.verdict.level == "fair"
    assert "But the inputs seem wrong" in report.verdict.text
    assert "But the inputs seem wrong" in result.report.to_markdown("en")


def test_a_function_of_the_user_is_not_called_to_judge_the_preprocessing(digits: Path) -> None:
    called: list[list[str]] = []

    def read(paths: list[str], entry: object) -> np.ndarray[Any, Any]:
        called.append(paths)
        return np.full((len(paths), 1, 8, 8), 0.5, np.float32)

    entry = {"preprocess_file": read, "data_list_path": ["calibration/00.png", "calibration/01.png"]}
    config = load_config({"calibration_parameters": {"input_parameters": [entry]}})
    with Isolated() as isolated:
        assert judge_preprocessing(load_model(digits / "digits.onnx"), config, isolated) is None
    assert not called, "the function may take long"


def test_normalised_arrays_are_no_warning() -> None:
    images = np.load(QUICKSTART / "held_back.npz")["images"][:32, None].astype(np.float32)
    result = xslim.quantize(QUICKSTART / "digits.onnx", (images - 78) / 96, finetune_level=0)
    assert not result.warnings
    assert result.report.data.verdict.level == "good"


def normalised(shape: list[int | str]) -> onnx.ModelProto:
    """Conv, BatchNormalization and pooling, with statistics that no image has."""
    weights = {
        "w": models.draw(1, 8, 3, 3, 3),
        "one": np.ones(8, np.float32),
        "zero": np.zeros(8, np.float32),
        "mean": models.draw(2, 8),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("BatchNormalization", ["c", "one", "zero", "mean", "one"], ["n"], name="norm"),
        helper.make_node("Relu", ["n"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["y"], name="gap"),
    ]
    return models.model(nodes, {"x": shape}, {"y": [shape[0], 8, 1, 1]}, weights)


def test_arrays_of_different_sizes_are_judged() -> None:
    random = np.random.default_rng(1)
    arrays = [random.random((1, 3, 8 + i, 9 + 2 * i), dtype=np.float32) for i in range(8)]
    result = xslim.quantize(normalised([1, 3, "h", "w"]), arrays, finetune_level=0)
    assert any(WARNING in text for text in result.warnings)


def test_a_model_that_takes_several_images_at_once_is_not_judged() -> None:
    arrays = [np.random.default_rng(i).random((4, 3, 8, 8), dtype=np.float32) for i in range(8)]
    result = xslim.quantize(normalised([4, 3, 8, 8]), arrays, finetune_level=0)
    assert not any(WARNING in text for text in result.warnings)
    assert result.comparison


def test_a_broken_image_is_named_and_the_configuration_is_written(
    digits: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (digits / "calibration" / "00.png").write_bytes(b"no image")
    arguments = ["--data", str(digits / "calibration"), "-o", str(digits / "start.json")]
    assert main(["init", str(digits / "digits.onnx"), *arguments]) == 1
    assert "00.png" in capsys.readouterr().err
    assert "Measured: mean 82.8" in (digits / "start.json").read_text("utf-8"), "by the other images"


def test_an_open_size_becomes_one_that_the_model_takes(tmp_path: Path) -> None:
    """The model divides its height by 48, as recognisers of text do."""
    weights: dict[str, NDArray[np.generic]] = {
        "w": models.draw(1, 8, 3, 48, 1),
        "axis": np.array([2], np.int64),
        "v": models.draw(2, 8, 5),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", strides=[48, 4]),
        helper.make_node("Squeeze", ["c", "axis"], ["s"], name="squeeze"),
        helper.make_node("Transpose", ["s"], ["t"], name="transpose", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["t", "v"], ["y"], name="product"),
    ]
    shape: dict[str, list[int | str]] = {"x": ["batch", 3, "height", "width"]}
    proto = models.model(nodes, shape, {"y": ["batch", "length", 5]}, weights)
    models.save(proto, tmp_path / "net.onnx")
    (tmp_path / "lines").mkdir()
    for index in range(4):
        line = np.random.default_rng(index).integers(0, 256, (40, 300, 3)).astype(np.uint8)
        assert cv2.imwrite(str(tmp_path / "lines" / f"{index}.png"), line)
    start = tmp_path / "start.json"
    arguments = ["--data", str(tmp_path / "lines"), "-o", str(start)]
    assert main(["init", str(tmp_path / "net.onnx"), *arguments]) == 0
    (entry,) = load_config(start).calibration_parameters.input_parameters
    assert entry.input_shape == (1, 3, 48, 320)
