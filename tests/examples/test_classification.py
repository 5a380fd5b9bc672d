"""The classification example prints the accuracy of the quick start's digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from tests.examples.running import EXAMPLES, run


def test_top_1_is_that_of_onnxruntime(tmp_path: Path) -> None:
    out = run("classification/run.py", tmp_path)
    held_back = np.load(EXAMPLES / "quickstart" / "held_back.npz")
    inputs = ((held_back["images"][:, None] - np.float32(78)) / np.float32(96)).astype(np.float32)
    for name, path in (
        ("first", EXAMPLES / "quickstart" / "digits.onnx"),
        ("second", tmp_path / "digits.q.onnx"),
    ):
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        rows = np.concatenate([session.run(None, {"image": row[None]})[0] for row in inputs])
        share = (rows.argmax(axis=1) == held_back["labels"]).mean()
        line = next(line for line in out.splitlines() if line.startswith(name))
        assert line.split()[1] == f"{share:.2%}"
    assert "360 labels" in out
