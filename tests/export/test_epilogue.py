"""The model of the fp16 epilogue equals a numpy oracle, and large sums are seen."""

from __future__ import annotations

import numpy as np
import pytest

from tests import models
from tests.quantization.build import graph, plan_of, prepared
from xslim.export.epilogue import LARGEST, with_fp16_epilogues
from xslim.export.qdq import export_qdq
from xslim.graph.io import load_model
from xslim.graph.scheme import Quantization
from xslim.quantization.parameters import params_of_range, quantize_constant
from xslim.runtime import Session
from xslim.targets import load_target

TEXT = """(float[1,3,6,6] x) => (float[1,5,4,4] y) {
    y = Conv(x, w, b)
}"""
RANGE = 3.0


@pytest.mark.parametrize("size", [1.0, 4e5])
def test_a_convolution_equals_the_oracle(size: float) -> None:
    weight, bias = models.draw(1, 5, 3, 3, 3) * np.float32(size), models.draw(2, 5) * np.float32(size)
    model = prepared(graph(TEXT, {"w": weight, "b": bias}))
    plan = plan_of(model)
    reach = {"x": RANGE, "y": RANGE * size}
    activations = {
        name: params_of_range(-reach[name], reach[name]) for item in plan.groups for name in item.tensors
    }
    initializers = model.graph.initializers
    constants = {item: quantize_constant(initializers[item.tensor], item) for item in plan.constants}
    exported = export_qdq(model, plan, Quantization(activations, constants), load_target("spacemit"))
    found = with_fp16_epilogues(exported)
    [peak] = found.peaks
    names = [found.model.graph.outputs[0].name or "", peak]
    x = models.draw(3, 1, 3, 6, 6) * 2
    result, largest = Session(found.model, names, qdq_as_written=True).run({"x": x})

    [stored] = [item for plan_item, item in constants.items() if plan_item.symmetric]
    scale, zero = activations["x"].scale, activations["x"].zero_point
    q = np.clip(np.rint(x / scale) + zero, -128, 127) - zero
    windows = np.lib.stride_tricks.sliding_window_view(q[0], (3, 3), axis=(1, 2))
    sums = np.einsum("chwij,ocij->ohw", windows, stored.values.astype(np.float64))
    product = sums * (scale * stored.params.scale.astype(np.float64))[:, None, None]
    with np.errstate(over="ignore", invalid="ignore"):
        half = product.astype(np.float16) + bias.astype(np.float16)[:, None, None]
    y_scale, y_zero = activations["y"].scale, activations["y"].zero_point
    with np.errstate(invalid="ignore"):
        expected = np.clip(np.rint(half.astype(np.float32) / y_scale) + y_zero, -128, 127) - y_zero
    assert largest == pytest.approx(np.abs(product).max(), rel=1e-5)
    assert (largest > LARGEST) == (size > 1)
    # A product in float32 may lie on the other side of the middle between two halves.
    assert np.mean(np.abs(result[0] / y_scale - expected) > 0.01) < 0.05
    plain = Session(exported, qdq_as_written=True).run({"x": x})[0]
    assert size == 1 or not np.array_equal(plain, result)


HALF = """(float16[2,32] x) => (float16[2,4] y) {
    q = QuantizeLinear(x, s, z)
    d = DequantizeLinear(q, s, z)
    v = DequantizeLinear(w, t, z)
    y = Gemm(d, v, b)
}"""


@pytest.mark.parametrize("scale", [0.0625, 64.0])
def test_a_float16_model_sums_in_float32(scale: float) -> None:
    rng = np.random.default_rng(1)
    weight, numbers = rng.integers(-127, 128, (32, 4)), rng.integers(-127, 128, (2, 32))
    bias = rng.integers(-50, 50, 4).astype(np.float16)
    constants = {"s": 0.125, "t": scale}
    weights = {name: np.float16(value) for name, value in constants.items()}
    weights |= {"z": np.int8(0), "w": weight.astype(np.int8), "b": bias}
    model = load_model(graph(HALF, weights, opset=19))
    found = with_fp16_epilogues(model)
    [peak] = found.peaks
    x = (numbers * 0.125).astype(np.float16)
    result, largest = Session(found.model, ["y", peak], qdq_as_written=True).run({"x": x})
    # Powers of two as scales make all values exact but for the roundings of the epilogue.
    sums = numbers @ weight * (0.125 * scale)
    with np.errstate(over="ignore"):
        expected = sums.astype(np.float16) + bias
    assert result.dtype == np.float16
    np.testing.assert_array_equal(result, expected)
    assert largest == np.abs(sums).max()
    assert (largest > LARGEST) == (scale > 1)
