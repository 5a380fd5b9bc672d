"""Settings that were probably meant otherwise get a warning that says what was meant; usual ones get none."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from xslim.config import load_config

IMAGENET = {"mean_value": [123.675, 116.28, 103.53], "std_value": [58.395, 57.12, 57.375]}
UNIT = {"mean_value": [0.485, 0.456, 0.406], "std_value": [0.229, 0.224, 0.225]}


def warnings(
    caplog: pytest.LogCaptureFixture,
    model: str = "m.onnx",
    entry: dict[str, Any] | None = None,
    calibration: dict[str, Any] | None = None,
    quantization: dict[str, Any] | None = None,
) -> list[str]:
    config = {
        "model_parameters": {"onnx_model": model},
        "calibration_parameters": {
            **(calibration or {}),
            "input_parameters": [{"data_list_path": "list.txt", **(entry or {})}],
        },
        "quantization_parameters": quantization or {},
    }
    with caplog.at_level(logging.WARNING, "xslim"):
        load_config(config)
    return [record.message for record in caplog.records]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"entry": UNIT}, "multiply both by 255"),
        ({"entry": {"mean_value": [0.5], "std_value": [0.5]}}, "multiply both by 255"),
        ({"model": "out/yolo.q.onnx"}, "was yolo.onnx meant"),
        (
            {"calibration": {"calibration_type": "minmax"}, "quantization": {"max_percentile": 0.999}},
            'was "percentile" meant?',
        ),
        ({"calibration": {"calibration_step": 3}}, "from 10 to 1000 samples are sensible"),
    ],
)
def test_a_probable_mistake_is_named(
    arguments: dict[str, Any], hint: str, caplog: pytest.LogCaptureFixture
) -> None:
    [message] = warnings(caplog, **arguments)
    assert hint in message


@pytest.mark.parametrize(
    "arguments",
    [
        {"entry": IMAGENET},
        {"entry": {"mean_value": [0.0], "std_value": [255.0]}},
        {"entry": {"mean_value": [0.0], "std_value": [1.0]}},
        {"entry": {"mean_value": [127.5], "std_value": [127.5]}},
        {"entry": {**UNIT, "file_type": "npy"}},
        {"calibration": {"calibration_type": "percentile"}, "quantization": {"max_percentile": 0.999}},
        {"calibration": {"calibration_type": "minmax"}},
        {"model": "q.onnx"},
    ],
)
def test_usual_settings_get_no_warning(arguments: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    assert warnings(caplog, **arguments) == []
