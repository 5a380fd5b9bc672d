"""The examples on how data come in: several inputs, own preprocessing, recordings, many models."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import models
from tests.examples.running import EXAMPLES, run


def shares(printed: str, name: str) -> list[float]:
    """Return the percentages of a printed line."""
    line = next(line for line in printed.splitlines() if line.startswith(name))
    return [float(word.rstrip("%")) for word in line.removeprefix(name).split()]


def test_two_digits_are_compared(tmp_path: Path) -> None:
    out = run("several-inputs/run.py", "--output", tmp_path)
    right, right_int8 = shares(out, "right")
    assert min(right, right_int8) > 98
    inputs = json.loads((tmp_path / "config.json").read_text("utf-8"))["calibration_parameters"]
    assert [item["input_name"] for item in inputs["input_parameters"]] == ["first_image", "second_image"]


def test_a_guess_costs_what_the_own_function_keeps(tmp_path: Path) -> None:
    out = run("own-preprocessing/run.py", "--output", tmp_path)
    (expected,), (own,), (guessed,) = (
        shares(out, name) for name in ("float", "int8, own function", "int8, pixels / 255")
    )
    assert own == pytest.approx(expected, abs=1)
    assert guessed < 50


def detector(path: Path) -> Path:
    """Write a detector of loud windows, whose state follows the loudness."""
    weights = {"w": models.draw(1, 576, 8), "rest": np.zeros((8, 1), np.float32)}
    nodes = [
        helper.make_node("Abs", ["input"], ["a"]),
        helper.make_node("ReduceMean", ["a"], ["loud"], keepdims=1, axes=[1]),
        helper.make_node("Add", ["loud", "state"], ["sum"]),
        helper.make_node("Mul", ["sum", "half"], ["stateN"]),
        helper.make_node("MatMul", ["input", "w"], ["m"]),
        helper.make_node("MatMul", ["m", "rest"], ["zero"]),
        helper.make_node("Mul", ["stateN", "twenty"], ["scaled"]),
        helper.make_node("Add", ["scaled", "zero"], ["output"]),
    ]
    constants = {"half": np.float32(0.5), "twenty": np.float32(20)}
    arrays = [
        numpy_helper.from_array(np.asarray(value), name) for name, value in (weights | constants).items()
    ]
    shapes = {"input": [1, 576], "state": [1, 1], "output": [1, 1], "stateN": [1, 1]}
    infos = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()
    }
    graph = helper.make_graph(
        nodes, "vad", [infos["input"], infos["state"]], [infos["output"], infos["stateN"]], arrays
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, path)
    return path


def test_states_go_from_window_to_window(tmp_path: Path) -> None:
    recording = tmp_path / "loud.wav"
    silence, noise = np.zeros(5120), np.random.default_rng(0).uniform(-20_000, 20_000, 5120)
    with wave.open(str(recording), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(np.concatenate([silence, noise]).astype("<i2").tobytes())
    model = detector(tmp_path / "vad.onnx")
    out = run("voice-activity/run.py", model, recording, "--output", tmp_path / "vad.q.onnx")
    assert "20 windows" in out
    assert shares(out, "speech") == [50, 50]
    assert shares(out, "same answer as float") == [100]


def test_a_batch_takes_configurations(tmp_path: Path) -> None:
    out = run("modelzoo/run.py", EXAMPLES / "quickstart" / "config.json", "--output", tmp_path)
    rows = [line for line in out.splitlines() if line.startswith("| quickstart_config")]
    assert [row.split(" | ")[2] for row in rows] == ["done", "done"]
