"""The text recognition example: its decoding by hand, and the script on a small recogniser."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests import models
from tests.examples.running import EXAMPLES, run

sys.path.insert(0, str(EXAMPLES / "text-recognition"))
import lines


def test_repeats_and_blanks_are_removed() -> None:
    known = ["", "a", "b", " "]
    steps = [0, 1, 1, 0, 1, 2, 2, 3, 2, 0]
    assert lines.read(np.eye(4)[steps], known) == "aab b"


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("same", "same", 0), ("ab", "ba", 2)],
)
def test_edits(first: str, second: str, count: int) -> None:
    assert lines.edits(first, second) == lines.edits(second, first) == count


def test_a_line_is_scaled_to_the_height_of_the_model() -> None:
    picture = np.full((24, 50, 3), 255, np.uint8)
    found = lines.model_input(picture)
    assert found.shape == (3, 48, 320)
    np.testing.assert_allclose(found[:, :, :100], 1)
    np.testing.assert_allclose(found[:, :, 100:], 0)


def recogniser(path: Path) -> Path:
    """Write one convolution per step, with the characters in the model."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[48, 8]),
        helper.make_node("Squeeze", ["c", "axis"], ["s"]),
        helper.make_node("Transpose", ["s"], ["t"], perm=[0, 2, 1]),
        helper.make_node("Softmax", ["t"], ["y"], axis=2),
    ]
    weights = {"w": 20 * models.draw(0, 6, 3, 48, 8), "axis": np.array([2])}
    made = models.model(nodes, {"x": ["n", 3, 48, "w"]}, {"y": ["n", "steps", 6]}, weights)
    entry = made.metadata_props.add()
    entry.key, entry.value = "character", "a\nb\nc\nd"
    onnx.save(made, path)
    return path


def test_the_script_reads_with_both_models(tmp_path: Path) -> None:
    model, output = recogniser(tmp_path / "rec.onnx"), tmp_path / "int8.onnx"
    out = run("text-recognition/run.py", model, "--output", output)
    assert output.exists()
    rows = {line[:22].strip(): line.split()[-2:] for line in out.splitlines()[-3:]}
    assert rows["lines read exactly"] == ["0.00%", "0.00%"]
    assert float(rows["same text as float"][1].rstrip("%")) > 20


@pytest.mark.skipif(find_spec("rapidocr") is None, reason="pip install rapidocr")
def test_a_real_recogniser_reads_nearly_all_lines(tmp_path: Path) -> None:
    out = run("text-recognition/run.py", "--output", tmp_path / "int8.onnx")
    before, after = (float(share.rstrip("%")) for share in out.splitlines()[-3].split()[-2:])
    assert before > 80
    assert after >= before - 5
