"""The quick start's script prints correct figures and writes the files that its page lists."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from .conftest import QUICKSTART, copy_quickstart


def run(folder: Path, cwd: Path) -> str:
    """Run the script of a copy of the quick start and return what it prints."""
    command = [sys.executable, str(folder / "run.py")]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The script's output and folder, run once from a folder of its own."""
    folder = copy_quickstart(tmp_path_factory.mktemp("here") / "quickstart")
    return run(folder, tmp_path_factory.mktemp("elsewhere")), folder


def percentages(line: str) -> list[float]:
    """Return all percentages of a line as fractions."""
    return [float(number) / 100 for number in re.findall(r"([\d.]+)%", line)]


def accuracy(model: Path) -> float:
    """Measure a model on the held-back images, one at a time, by this test's own arithmetic."""
    held_back = np.load(QUICKSTART / "held_back.npz")
    parameters = json.loads((QUICKSTART / "config.json").read_text())["calibration_parameters"][
        "input_parametres"
    ][0]
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    right = 0
    for image, label in zip(held_back["images"], held_back["labels"], strict=True):
        scaled = (image - np.float32(parameters["mean_value"][0])) / np.float32(parameters["std_value"][0])
        (logits,) = session.run(None, {parameters["input_name"]: scaled[None, None]})
        right += int(logits.argmax() == label)
    return right / len(held_back["labels"])


def test_printed_accuracy_is_measured(printed: tuple[str, Path]) -> None:
    output, folder = printed
    line = next(line for line in output.splitlines() if line.startswith("top-1"))
    measured = [accuracy(folder / "digits.onnx"), accuracy(folder / "output" / "digits.q.onnx")]
    assert percentages(line) == pytest.approx(measured, abs=1e-4)


def test_int8_is_as_good_as_float(printed: tuple[str, Path]) -> None:
    before, after = percentages(next(line for line in printed[0].splitlines() if line.startswith("top-1")))
    assert before > 0.98
    assert after >= before - 0.01


def test_every_convolution_is_int8(printed: tuple[str, Path]) -> None:
    graph = onnx.load(printed[1] / "output" / "digits.q.onnx").graph
    produced_by = {output: node.op_type for node in graph.node for output in node.output}
    computing = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(computing) == 15
    for node in computing:
        assert [produced_by.get(name) for name in node.input[:2]] == ["DequantizeLinear"] * 2, node.name


def test_the_model_is_smaller(printed: tuple[str, Path]) -> None:
    before, after = printed[1] / "digits.onnx", printed[1] / "output" / "digits.q.onnx"
    assert after.stat().st_size < 0.6 * before.stat().st_size


def test_it_writes_the_same_bytes_again(printed: tuple[str, Path], tmp_path: Path) -> None:
    folder = copy_quickstart(tmp_path / "quickstart")
    run(folder, folder)
    written = Path("output") / "digits.q.onnx"
    assert (folder / written).read_bytes() == (printed[1] / written).read_bytes()


def test_it_writes_the_same_bytes_where_it_ran_before(printed: tuple[str, Path]) -> None:
    written = printed[1] / "output" / "digits.q.onnx"
    before = written.read_bytes()
    assert (written.parent / "digits.q.sketches").exists()
    run(printed[1], printed[1])
    assert written.read_bytes() == before


def test_the_page_describes_the_files() -> None:
    page = (QUICKSTART / "README.md").read_text("utf-8")
    model = onnx.load(QUICKSTART / "digits.onnx")
    statistics = {"running_mean", "running_var"}
    trained = [i for i in model.graph.initializer if i.name.rpartition(".")[2] not in statistics]
    listed = (QUICKSTART / "calibration" / "list.txt").read_text().split()
    held_back = np.load(QUICKSTART / "held_back.npz")
    assert f"{sum(np.prod(i.dims, dtype=int) for i in trained):,} parameters" in page
    assert f"opset {model.opset_import[0].version}" in page
    assert f"{len(listed)} training images" in page
    assert f"{len(held_back['labels'])} labelled images" in page
    assert all((QUICKSTART / "calibration" / file).is_file() for file in listed)
