"""The models shared by the tests run and have the operators that their names state."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from tests import models


@pytest.mark.parametrize(
    ("proto", "feeds", "shape"),
    [
        (models.conv_net(), {"x": (1, 3, 8, 8)}, (1, 10)),
        (models.conv_net("n", 16, 1), {"x": (2, 1, 16, 16)}, (2, 10)),
        (models.mlp("n"), {"x": (5, 16)}, (5, 4)),
        (models.depthwise_net(), {"x": (1, 3, 8, 8)}, (1, 6, 8, 8)),
        (models.residual_net(), {"x": (1, 3, 8, 8)}, (1, 8, 8, 8)),
        (models.two_inputs(2), {"image": (2, 3, 8, 8), "vector": (2, 5)}, (2, 8)),
    ],
)
def test_float_models_run(
    proto: onnx.ModelProto, feeds: dict[str, tuple[int, ...]], shape: tuple[int, ...]
) -> None:
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    values = {name: generator.standard_normal(size).astype(np.float32) for name, size in feeds.items()}
    (output,) = session.run(None, values)
    assert output.shape == shape
    assert output.std() > 0.01


def test_the_token_model_takes_any_length() -> None:
    session = ort.InferenceSession(models.token_net().SerializeToString(), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"tokens": np.array([[1, 2, 3]], np.int64)})
    assert output.shape == (1, 3, 7)
