"""Any model that onnxruntime runs goes through every conversion, and none asks for more inputs afterwards."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

import xslim
from tests.passes.build import feeds, run
from tests.promises.unusual import MODELS

CONVERSIONS = {
    "slim": (xslim.slim, 1e-5),
    "dynamic": (xslim.quantize_dynamic, 0.1),
    "fp16": (xslim.convert_fp16, 0.01),
}


@pytest.mark.parametrize("conversion", CONVERSIONS)
@pytest.mark.parametrize("name", MODELS)
def test_an_unusual_model_is_converted(name: str, conversion: str) -> None:
    model = MODELS[name]
    convert, tolerance = CONVERSIONS[conversion]
    assert_close(model, convert, tolerance)


def assert_close(
    model: onnx.ModelProto, convert: Callable[[onnx.ModelProto], onnx.ModelProto], tolerance: float
) -> None:
    """The result runs on the same inputs and differs by no more than a share of the largest value."""
    inputs = feeds(model)
    filled = {tensor.values.name for tensor in model.graph.sparse_initializer}
    inputs = {name: array for name, array in inputs.items() if name not in filled}
    expected = run(model, inputs)
    result = convert(model)
    onnx.checker.check_model(result, full_check=True)
    assert [value.name for value in result.graph.output] == [value.name for value in model.graph.output]
    for before, after in zip(expected, run(result, inputs), strict=True):
        assert after.dtype == before.dtype
        assert after.shape == before.shape
        if before.dtype.kind == "f":
            largest = float(np.abs(before).max(initial=1e-12))
            np.testing.assert_allclose(after, before, rtol=0, atol=tolerance * largest)
        else:
            np.testing.assert_array_equal(after, before)
