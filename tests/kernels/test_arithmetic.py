"""Quantisation and error sums against onnxruntime and numpy."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from onnx import TensorProto, helper

from xslim.kernels import (
    ErrorMetrics,
    Sketch,
    error_sums,
    fake_quantize,
    quantize,
    quantize_per_channel,
    search,
    set_threads,
)


@pytest.fixture(scope="module")
def runtime() -> dict[bool, ort.InferenceSession]:
    """Sessions of QuantizeLinear and DequantizeLinear: per tensor, and along axis 1."""
    return {along_axis: session(along_axis) for along_axis in (False, True)}


def session(along_axis: bool) -> ort.InferenceSession:
    parameter = ["n"] if along_axis else []
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=1),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=1),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["a", "b", "c"]),
        helper.make_tensor_value_info("s", TensorProto.FLOAT, parameter),
        helper.make_tensor_value_info("z", TensorProto.INT8, parameter),
    ]
    outputs = [
        helper.make_tensor_value_info("q", TensorProto.INT8, ["a", "b", "c"]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b", "c"]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


HALVES = st.integers(-600, 600).map(lambda value: value / 4)
ELEMENTS = st.one_of(HALVES, st.floats(width=32))
TENSORS = hnp.arrays(np.float32, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9), elements=ELEMENTS)
SCALES = st.one_of(st.just(0.5), st.floats(2**-10, 100, width=32))


@given(x=TENSORS, scale=SCALES, zero=st.integers(-128, 127))
def test_per_tensor_is_bit_for_bit_onnxruntime(
    runtime: dict[bool, ort.InferenceSession], x: NDArray[np.float32], scale: float, zero: int
) -> None:
    feeds = {"x": x, "s": np.array(scale, np.float32), "z": np.array(zero, np.int8)}
    integers, floats = runtime[False].run(None, feeds)
    np.testing.assert_array_equal(quantize(x, scale, zero), integers)
    np.testing.assert_array_equal(fake_quantize(x, scale, zero), floats)


@given(x=TENSORS, data=st.data())
def test_per_channel_is_bit_for_bit_onnxruntime(
    runtime: dict[bool, ort.InferenceSession], x: NDArray[np.float32], data: st.DataObject
) -> None:
    channels = x.shape[1]
    scales = data.draw(hnp.arrays(np.float32, channels, elements=SCALES))
    zeros = data.draw(hnp.arrays(np.int8, channels))
    x = np.nan_to_num(x)
    integers, floats = runtime[True].run(None, {"x": x, "s": scales, "z": zeros})
    for axis in (1, -2):
        np.testing.assert_array_equal(quantize(x, scales, zeros, axis=axis), integers)
        np.testing.assert_array_equal(fake_quantize(x, scales, zeros, axis=axis), floats)


def test_large_tensors_in_any_number_of_threads(runtime: dict[bool, ort.InferenceSession]) -> None:
    x = np.random.default_rng(0).normal(size=(3, 5, 40_000)).astype(np.float32)
    scales, zeros = np.float32([0.01, 0.02, 0.03, 0.5, 1e-3]), np.int8([0, 5, -7, 127, -128])
    expected = runtime[True].run(None, {"x": x, "s": scales, "z": zeros})[1]
    for threads in (1, 2):
        set_threads(threads)
        np.testing.assert_array_equal(fake_quantize(x, scales, zeros, axis=1), expected)


def test_impossible_parameters_are_refused() -> None:
    x = np.ones((2, 3), np.float32)
    for arguments, message in [
        ({"scale": 0.0}, "positive and finite"),
        ({"scale": -1.0}, "positive and finite"),
        ({"scale": np.nan}, "positive and finite"),
        ({"scale": 1.0, "zero_point": 200}, "within -128 and 127"),
        ({"scale": [1.0, 1.0], "axis": 1}, "2 scales for 3 channels"),
        ({"scale": [1.0, 1.0]}, "2 scales for 1 channels"),
        ({"scale": [1.0, 1.0], "axis": 2}, "axis 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            fake_quantize(x, **arguments)


WEIGHTS = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=4, max_side=7), elements=st.floats(-8, 8, width=32)
)


@given(w=WEIGHTS, axis=st.integers(-2, 1), bits=st.integers(2, 8))
def test_minmax_weights_follow_numpy(w: NDArray[np.float32], axis: int, bits: int) -> None:
    largest = 2 ** (bits - 1) - 1
    integers, scales = quantize_per_channel(w, axis, bits=bits)
    rows = np.moveaxis(w, axis, 0).reshape(w.shape[axis], -1)
    extremes = np.abs(rows).max(axis=1)
    expected = np.where(
        extremes == 0, np.float32(1), np.maximum(extremes / np.float32(largest), np.finfo("f4").tiny)
    )
    np.testing.assert_array_equal(scales, expected)
    assert integers.shape == w.shape
    assert np.abs(integers.astype(int)).max() <= largest
    found = np.moveaxis(integers, axis, 0).reshape(rows.shape)
    np.testing.assert_array_equal(found, np.clip(np.rint(rows / expected[:, None]), -largest, largest))


@given(w=WEIGHTS, bits=st.integers(2, 8))
def test_clipped_weights_are_never_worse(w: NDArray[np.float32], bits: int) -> None:
    def error(method: str) -> NDArray[np.float64]:
        integers, scales = quantize_per_channel(w, 0, bits=bits, method=method)
        shape = (-1,) + (1,) * (w.ndim - 1)
        difference = w - integers * scales.astype(np.float64).reshape(shape)
        return (difference**2).reshape(w.shape[0], -1).sum(axis=1)

    assert (error("mse") <= error("minmax") * (1 + 1e-4) + 1e-12).all()


@given(w=WEIGHTS, axis=st.integers(0, 1), bits=st.integers(2, 8), method=st.sampled_from(["minmax", "mse"]))
def test_balanced_weights_follow_the_definition(
    w: NDArray[np.float32], axis: int, bits: int, method: str
) -> None:
    integers, scales = quantize_per_channel(w, axis, bits=bits, method=method)
    balanced, same_scales = quantize_per_channel(w, axis, bits=bits, method=method, balanced=True)
    np.testing.assert_array_equal(same_scales, scales)
    taps = int(np.prod(w.shape[2:], dtype=int))
    rows = np.moveaxis(w, axis, 0).reshape(w.shape[axis], -1)
    nearest = np.moveaxis(integers, axis, 0).reshape(rows.shape)
    expected = [
        balance(row, values.copy(), scale, taps, 2 ** (bits - 1) - 1)
        for row, values, scale in zip(rows, nearest, scales, strict=True)
    ]
    np.testing.assert_array_equal(np.moveaxis(balanced, axis, 0).reshape(rows.shape), expected)


def balance(
    row: NDArray[np.float32], values: NDArray[np.int8], scale: np.float32, taps: int, largest: int
) -> NDArray[np.int8]:
    """Greedy descent of `sum(e^2) + sum(e)^2`, kernel by kernel and then over the channel."""
    errors = values.astype(np.float32) - row / scale
    kernels = [slice(start, start + taps) for start in range(0, len(row), taps)] if taps > 1 else []
    for part in (*kernels, slice(None)):
        # One by one, as the last bits decide ties.
        excess = np.cumsum(errors[part].astype(float))[-1]
        direction = 1 if excess > 0 else -1
        residuals = errors[part] * direction
        residuals[(residuals <= 0) | (values[part] == -direction * largest)] = -np.inf
        most = int(abs(excess) + 0.5)
        for moved, index in enumerate(np.argsort(-residuals, kind="stable")[:most]):
            if abs(excess) - moved + float(residuals[index]) <= 1:
                break
            errors[part][index] -= np.float32(direction)
            values[part][index] -= direction
    return values


def test_balanced_weights_answer_equal_inputs_better() -> None:
    random = np.random.default_rng(0)
    w = random.normal(size=(32, 16, 3, 3)).astype(np.float32)

    def error(inputs: NDArray[np.float64], *, balanced: bool) -> float:
        integers, scales = quantize_per_channel(w, 0, method="mse", balanced=balanced)
        difference = (integers * scales[:, None, None, None] - w).reshape(32, -1)
        return float(((difference @ inputs) ** 2).mean())

    alike, independent = np.ones((144, 1)), random.normal(size=(144, 4096))
    assert error(alike, balanced=True) < error(alike, balanced=False) / 20
    assert error(independent, balanced=True) < error(independent, balanced=False) * 1.25
    rectified = np.maximum(independent, 0)
    assert error(rectified, balanced=True) < error(rectified, balanced=False)


def test_weights_that_cannot_be_quantised() -> None:
    w = np.ones((3, 2), np.float32)
    w[1, 0] = np.inf
    with pytest.raises(ValueError, match="channel 1 has NaN or infinite"):
        quantize_per_channel(w, 0)
    with pytest.raises(ValueError, match="unknown method"):
        quantize_per_channel(w, 0, method="kl")
    integers, scales = quantize_per_channel(np.zeros((0, 4), np.float32), 0)
    assert (integers.shape, scales.shape) == ((0, 4), (0,))


PAIRS = st.integers(0, 300).flatmap(
    lambda size: st.tuples(*[hnp.arrays(np.float32, size, elements=st.floats(-50, 50, width=32))] * 2)
)


@given(PAIRS)
def test_sums_follow_numpy(pair: tuple[NDArray[np.float32], NDArray[np.float32]]) -> None:
    a, b = (array.astype(np.float64) for array in pair)
    sums = error_sums(*pair)
    assert (sums.count, sums.non_finite_count) == (a.size, 0)
    assert sums.reference_energy == pytest.approx((a**2).sum(), rel=1e-12)
    assert sums.test_energy == pytest.approx((b**2).sum(), rel=1e-12)
    assert sums.product == pytest.approx((a * b).sum(), rel=1e-9, abs=1e-9)
    assert sums.noise_energy == pytest.approx(((a - b) ** 2).sum(), rel=1e-12)
    if a.size:
        assert sums.max_abs_error == np.abs(a - b).max()
        assert sums.mse == pytest.approx(np.mean((a - b) ** 2), rel=1e-12)
        assert sums.reference_range == (a.min(), a.max())
        assert sums.test_range == (b.min(), b.max())
    if np.linalg.norm(a) > 1e-6 and np.linalg.norm(b) > 1e-6:
        assert sums.cosine == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-9)
        assert sums.noise_ratio == pytest.approx(((a - b) ** 2).sum() / (a**2).sum(), rel=1e-9)


def test_updates_and_merges_add_up() -> None:
    generator = np.random.default_rng(5)
    a = generator.normal(size=(6, 70_000)).astype(np.float32)
    b = a + generator.normal(size=a.shape).astype(np.float32) * 0.01
    whole, left, right = ErrorMetrics(), ErrorMetrics(), ErrorMetrics()
    for index, (x, y) in enumerate(zip(a, b, strict=True)):
        whole.update(x, y)
        (left if index < 3 else right).update(x, y)
    left.merge(right)
    assert left.count == whole.count == a.size
    assert left.noise_energy == pytest.approx(whole.noise_energy, rel=1e-12)
    assert whole.sqnr_db == pytest.approx(40, abs=0.2)


def test_pairs_that_are_not_finite_are_counted_apart() -> None:
    a = np.float32([1, np.nan, 3, np.inf])
    b = np.float32([1.5, 2, -np.inf, np.inf])
    sums = error_sums(a, b)
    assert (sums.count, sums.non_finite_count, sums.mse) == (1, 3, 0.25)
    with pytest.raises(ValueError, match="4 reference values and 3 test values"):
        error_sums(a, b[:3])


def test_a_quantised_tensor_has_the_noise_that_theory_predicts() -> None:
    x = np.random.default_rng(6).uniform(-1, 1, 200_000).astype(np.float32)
    sketch = Sketch()
    sketch.observe(x)
    scale, zero_point = search(sketch, "minmax")
    sums = error_sums(x, fake_quantize(x, scale, zero_point))
    assert sums.mse == pytest.approx(scale**2 / 12, rel=0.02)
