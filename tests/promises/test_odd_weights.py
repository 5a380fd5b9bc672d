"""Weights with NaN are named in the log and not quantised; unusual but valid weights are quantised."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import xslim
from tests.models import write_samples
from tests.passes.build import draw, feeds, run
from tests.promises.scopes import clipped
from tests.promises.unusual import BODY, WEIGHTS, parsed
from xslim.errors import ModelError

SCORES = "(float[1,8] x) => (float[1,16] y) { m = MatMul(x, w1) a = Add(m, k) y = Softmax(a) }"
CONVOLUTIONS = (
    "(float[1,8] x) => (float[1,4,1,1] y)"
    "{ u = Unsqueeze(x, axes) c = Conv(u, w1) r = Relu(c) d = Conv(r, w2) y = Clip(d) }"
)


def odd(number: float, name: str = "w1") -> dict[str, np.ndarray[Any, Any]]:
    """The weights, one element of one of them replaced."""
    weights = {key: array.copy() for key, array in WEIGHTS.items()}
    weights[name][2, 1] = number
    return weights


def convolutions(number: float) -> onnx.ModelProto:
    first = draw(6, 8, 1, 1)
    first[2, 1] = number
    return parsed(CONVOLUTIONS, w1=first, w2=draw(4, 6, 1, 1), axes=np.array([2, 3]))


def static(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    listing = write_samples(folder / "data", (1, 8), 8)
    entry = {"file_type": "npy", "data_list_path": str(listing)}
    config = {
        "calibration_parameters": {"calibration_device": "cpu", "input_parameters": [entry]},
        "quantization_parameters": {"analysis_enable": False},
    }
    return xslim.quantize_onnx_model(config, model, folder / "out.onnx")


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xslim.runtime.isolated._start", lambda memory: None)


SENSELESS = {
    "MatMul NaN": (parsed(BODY, **odd(np.nan)), "constant 'w1' of MatMul .* holds NaN"),
    "MatMul infinite": (
        parsed(BODY, **odd(-np.inf, "w2")),
        "constant 'w2' of MatMul .* holds infinite values",
    ),
    "Conv NaN": (convolutions(np.nan), "constant 'w1' of Conv .* holds NaN"),
    "Conv infinite": (convolutions(np.inf), "constant 'w1' of Conv .* holds infinite values"),
    "bias NaN": (parsed(SCORES, w1=WEIGHTS["w1"], k=np.full(16, np.nan, np.float32)), "'k' of .* holds NaN"),
}


@pytest.mark.parametrize("name", SENSELESS)
def test_a_weight_that_is_no_number_is_named(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, message = SENSELESS[name]
    with pytest.raises(ModelError, match=message) as caught:
        static(model, tmp_path)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out.onnx").exists()
    for convert in (xslim.slim, xslim.quantize_dynamic, xslim.convert_fp16):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "xslim"):
            convert(model)
        assert caplog.text.count(" holds ") == 1


zeros = {name: np.zeros_like(array) for name, array in WEIGHTS.items()}
MEANINGFUL = {
    "mask of minus infinity": parsed(
        SCORES, w1=WEIGHTS["w1"], k=np.where(np.arange(16) > 9, -np.inf, 0).astype("f")
    ),
    "first layer zero": parsed(BODY, w1=zeros["w1"], w2=WEIGHTS["w2"]),
    "every layer zero": parsed(BODY, **zeros),
    "one channel zero": parsed(BODY, w1=WEIGHTS["w1"] * (np.arange(16) % 2).astype("f"), w2=WEIGHTS["w2"]),
    "almost zero": parsed(BODY, w1=WEIGHTS["w1"] * np.float32(1e-42), w2=WEIGHTS["w2"]),
    "Clip, low above high": clipped(1.0, -1.0),
    "Clip to one number": clipped(0.5, 0.5),
}


@pytest.mark.parametrize("name", MEANINGFUL)
def test_odd_weights_that_mean_something_are_quantised(name: str, tmp_path: Path) -> None:
    model = MEANINGFUL[name]
    result = static(model, tmp_path)
    inputs = feeds(model)
    (expected,), (found,) = run(model, inputs), run(result, inputs)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.1 * np.abs(expected).max() + 1e-9)
