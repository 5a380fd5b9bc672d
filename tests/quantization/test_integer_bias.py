"""Tests of int32 biases in the scale of the accumulator."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

import xslim
from tests import models
from tests.quantization.build import exported, normal, observed, plan_of, prepared, run, sqnr
from xslim.graph.scheme import QuantizedTensor, QuantParams
from xslim.quantization.integer_bias import LARGEST_BIAS, fit_bias, integer_biases
from xslim.quantization.parameters import find_parameters
from xslim.targets import load_target


def weight(scales: list[float], values: int = 100) -> QuantizedTensor:
    scale = np.array(scales, np.float32)
    data = np.full((scale.size, 3), values, np.int8)
    return QuantizedTensor(data, QuantParams(scale, np.zeros(scale.size, np.int8), 0))


@given(
    bias=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5),
    input_scale=st.floats(1e-6, 10),
    exponent=st.floats(-12, 2),
)
@settings(max_examples=200, deadline=None)
def test_a_bias_keeps_its_value_and_never_overflows(
    bias: list[float], input_scale: float, exponent: float
) -> None:
    original = weight([10**exponent] * len(bias))
    fitted = fit_bias(np.array(bias), input_scale, original)
    assert fitted is not None
    stored, changed, raised = fitted
    step = stored.params.scale.astype(np.float64)
    assert stored.values.dtype == np.int32
    assert np.abs(stored.values.astype(np.int64)).max() <= LARGEST_BIAS * 1.001
    assert np.allclose(stored.values * step, bias, rtol=1e-6, atol=step.max())
    assert np.allclose(step, np.float64(input_scale) * changed.params.scale, rtol=1e-5)
    before = original.values * original.params.scale[:, None].astype(np.float64)
    after = changed.values * changed.params.scale[:, None].astype(np.float64)
    error = np.abs(after - before).max(axis=1)
    assert (error <= changed.params.scale * 0.51).all()
    assert all(error[index] == 0 for index in range(len(bias)) if index not in raised)


def test_only_the_channel_that_needs_it_gets_a_larger_scale() -> None:
    fitted = fit_bias(np.array([1.0, 1.0]), 0.01, weight([1e-2, 1e-12]))
    assert fitted is not None
    _, changed, raised = fitted
    assert raised == [1]
    assert changed.params.scale[0] == np.float32(1e-2)
    assert changed.params.scale[1] > 1e-12


def test_a_bias_without_a_value_per_channel_is_refused() -> None:
    assert fit_bias(np.array([1.0]), 0.1, weight([0.1, 0.1])) is None


def test_the_exported_model_stores_int32_and_computes_the_same() -> None:
    proto = models.conv_net()
    model = prepared(proto)
    plan = plan_of(model)
    target = load_target()
    feeds = [{"x": normal(seed, 1, 3, 8, 8)} for seed in range(4)]
    found = find_parameters(model, plan, observed(model, plan.observed, feeds))
    integer = integer_biases(model, plan, found, target, everywhere=True)
    assert set(integer.biases) == {"conv1", "conv2", "fc"}
    with_float, with_integer = (exported(model, plan, item, target) for item in (found, integer))
    stored = {item.name: item.data_type for item in with_integer.graph.initializer}
    assert stored["b1_quantized"] == 6  # INT32
    for item in feeds:
        assert sqnr(run(with_float, item)[0], run(with_integer, item)[0]) > 50


def test_a_dead_channel_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    proto = models.conv_net()
    weights = {item.name: item for item in proto.graph.initializer}
    dead = np.array(np.frombuffer(weights["w1"].raw_data, np.float32)).reshape(8, 3, 3, 3)
    dead[5] = 1e-14
    weights["w1"].raw_data = dead.tobytes()
    model = prepared(proto)
    plan = plan_of(model)
    feeds = [{"x": normal(1, 1, 3, 8, 8)}]
    found = find_parameters(model, plan, observed(model, plan.observed, feeds))
    with caplog.at_level(logging.WARNING):
        integer = integer_biases(model, plan, found, load_target(), everywhere=True)
    assert "conv1: weight scale raised in channels [5] for the bias to fit int32" in caplog.text
    result = exported(model, plan, integer, load_target())
    assert sqnr(run(proto, feeds[0])[0], run(result, feeds[0])[0]) > 25


def test_the_generic_target_gets_integer_biases_where_it_needs_them() -> None:
    model = prepared(models.conv_net())
    plan = plan_of(model, target="generic")
    found = find_parameters(model, plan, observed(model, plan.observed, [{"x": normal(1, 1, 3, 8, 8)}]))
    assert set(integer_biases(model, plan, found, load_target("generic"), everywhere=False).biases) == {"fc"}
    assert not integer_biases(model, plan, found, load_target(), everywhere=False).biases


def pruned(magnitude: float, bias: float) -> onnx.ModelProto:
    """A convolution whose second channel was pruned in training: only its bias counts."""
    weights = normal(3, 4, 3, 3, 3)
    weights[1] *= np.float32(magnitude)
    convolution = helper.make_node("Conv", ["x", "w", "b"], ["y"], name="conv", pads=[1, 1, 1, 1])
    constants = {"w": weights, "b": np.array([0.1, bias, -0.3, 0.4], np.float32)}
    return models.model([convolution], {"x": [1, 3, 8, 8]}, {"y": [1, 4, 8, 8]}, constants)


@pytest.mark.parametrize("bias_type", ["float", "int32"])
@pytest.mark.parametrize("magnitude", [0.0, 1e-12, 1e-9, 1e-7, 1e-6, 1e-4])
def test_a_pruned_channel_keeps_its_bias_where_onnxruntime_fuses(magnitude: float, bias_type: str) -> None:
    samples = 100 * normal(1, 24, 3, 8, 8)
    model = pruned(magnitude, 900.0)
    quantized = xslim.quantize(model, samples, bias_type=bias_type, finetune_level=0).model
    session = ort.InferenceSession(quantized.SerializeToString(), providers=["CPUExecutionProvider"])
    channel = session.run(None, {"x": samples[:1]})[0][0, 1]
    step = 2 * max(abs(run(model, {"x": sample[None]})[0]).max() for sample in samples) / 255
    assert np.abs(channel - 900.0).max() <= step


def test_a_bias_is_exact_where_all_weights_are_zero() -> None:
    stored, changed, raised = fit_bias(np.array([0.2, 1.0]), 2.64, weight([1.0, 1e-2], 0)) or (None,) * 3
    assert stored is not None
    assert changed is not None
    assert raised == []
    assert np.allclose(stored.values * stored.params.scale.astype(np.float64), [0.2, 1.0], rtol=1e-6)
    assert not changed.values.any()
