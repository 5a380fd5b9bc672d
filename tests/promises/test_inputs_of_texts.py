"""Models that read strings go through every command that needs no data, and compute the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import parser

from xslim.cli import main
from xslim.graph.io import load_model
from xslim.runtime import random_feeds

WORDS = ["red", "green", "blue"]

LABELS = """
    i = ai.onnx.ml.LabelEncoder <keys_strings = ["red", "green", "blue"], values_int64s = [0, 1, 2],
                                 default_int64 = 3> (s)
    h = Gather (table, i)
    y = MatMul (h, w)
"""
CLASSES = """
    c = ai.onnx.ml.OneHotEncoder <cats_strings = ["red", "green", "blue"]> (s)
    t = MatMul (c, narrow)
    h = Concat <axis = 1> (x, t)
    y = MatMul (h, wide)
"""
NUMBERS = """
    n = Cast <to = 1> (s)
    a = Unsqueeze (n, one)
    h = Add (x, a)
    y = MatMul (h, w)
"""
PASSED = "t = Identity (s) y = MatMul (x, w)"

MODELS = {
    "labels": ("string[n] s", "float[n, 64] y", LABELS),
    "classes": ("string[n] s, float[n, 64] x", "float[n, 64] y", CLASSES),
    "numbers": ("string[n] s, float[n, 64] x", "float[n, 64] y", NUMBERS),
    "passed": ("string[3] s, float[2, 64] x", "float[2, 64] y, string[3] t", PASSED),
}
SHAPES = {"table": (4, 64), "w": (64, 64), "narrow": (3, 64), "wide": (128, 64)}


def model(name: str) -> onnx.ModelProto:
    inputs, outputs, body = MODELS[name]
    text = (
        f'<ir_version: 8, opset_import: ["": 17, "ai.onnx.ml": 3]> g ({inputs}) => ({outputs}) {{ {body} }}'
    )
    made = parser.parse_model(text)
    random = np.random.default_rng(0)
    weights = {key: random.standard_normal(shape).astype(np.float32) for key, shape in SHAPES.items()}
    weights["one"] = np.array([1])
    read = {value for node in made.graph.node for value in node.input}
    made.graph.initializer.extend(
        onnx.numpy_helper.from_array(array, key) for key, array in weights.items() if key in read
    )
    return made


@pytest.mark.parametrize("name", MODELS)
def test_they_are_slimmed_converted_and_compared(name: str, tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    onnx.save(model(name), source)
    feeds = next(iter(random_feeds(load_model(source))))
    texts = {str(word) for word in feeds["s"].reshape(-1)}
    assert texts <= ({"0", "1"} if name in ("numbers", "passed") else set(WORDS))
    expected = ort.InferenceSession(source).run(None, feeds)
    for option, tolerance in {"": 1e-5, "--fp16": 1e-2, "--dynq": 0.1}.items():
        result = tmp_path / f"r{option}.onnx"
        assert main(["-i", str(source), "-o", str(result), "--quiet", *option.split()]) == 0
        for found, wanted in zip(ort.InferenceSession(result).run(None, feeds), expected, strict=True):
            if wanted.dtype == object:
                assert (found == wanted).all()
            else:
                assert np.linalg.norm(found - wanted) <= tolerance * np.linalg.norm(wanted)
        assert main(["compare", str(source), str(result), "--quiet"]) == 0
