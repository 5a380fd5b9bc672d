"""Kernels on tensors in cache, compared with numpy, onnxruntime's collector and ``torch.histc``."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pytest_benchmark.fixture import BenchmarkFixture

from xslim import kernels
from xslim.kernels import Sketch

SIZE = 1 << 18
NORMAL = np.random.default_rng(0).normal(size=SIZE).astype(np.float32)
TENSORS = {"normal": NORMAL, "relu": np.maximum(NORMAL, 0), "heavy": NORMAL**5}

each_tensor = pytest.mark.parametrize("name", TENSORS)


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    before = kernels.threads()
    kernels.set_threads(1)
    yield
    kernels.set_threads(before)


def sketch_of(array: NDArray[np.floating]) -> Sketch:
    sketch = Sketch()
    sketch.observe(array)
    return sketch


@each_tensor
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.benchmark(group="sketch")
def test_sketch(benchmark: BenchmarkFixture, name: str, dtype: str, threads: int) -> None:
    kernels.set_threads(threads)
    arrays = [TENSORS[name].astype(dtype)] * 2
    sketches = [Sketch() for _ in arrays]
    benchmark.extra_info["bytes"] = sum(array.nbytes for array in arrays)
    benchmark(kernels.observe_many, sketches, arrays)


@each_tensor
@pytest.mark.benchmark(group="sketch, peers")
def test_numpy_histogram(benchmark: BenchmarkFixture, name: str) -> None:
    array = TENSORS[name]
    limits = (float(array.min()), float(array.max()))
    benchmark.extra_info["bytes"] = array.nbytes
    benchmark(np.histogram, array, 2048, limits)


@each_tensor
@pytest.mark.benchmark(group="sketch, peers")
def test_onnxruntime_collector(benchmark: BenchmarkFixture, name: str) -> None:
    benchmark.extra_info["bytes"] = TENSORS[name].nbytes
    benchmark(collected, TENSORS[name])


@each_tensor
@pytest.mark.benchmark(group="sketch, peers")
def test_torch_histc(benchmark: BenchmarkFixture, name: str) -> None:
    torch = pytest.importorskip("torch")
    benchmark.extra_info["bytes"] = TENSORS[name].nbytes
    benchmark(torch.histc, torch.from_numpy(TENSORS[name]), 2048)


def collected(array: NDArray[np.float32]) -> Any:
    """One tensor through onnxruntime's collector for its entropy method."""
    from onnxruntime.quantization.calibrate import HistogramCollector

    collector = HistogramCollector("entropy", False, 128, 128, 99.999, "same")
    with contextlib.redirect_stdout(io.StringIO()):
        collector.collect({"tensor": array})
    return collector


@each_tensor
@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "kl"])
@pytest.mark.benchmark(group="search")
def test_search(benchmark: BenchmarkFixture, name: str, method: str) -> None:
    benchmark(kernels.search, sketch_of(TENSORS[name]), method)


@pytest.mark.benchmark(group="search, peers")
def test_onnxruntime_entropy(benchmark: BenchmarkFixture) -> None:
    collector = collected(NORMAL)
    with contextlib.redirect_stdout(io.StringIO()):
        benchmark(collector.compute_collection_result)


@pytest.mark.benchmark(group="arithmetic")
def test_fake_quantize(benchmark: BenchmarkFixture) -> None:
    benchmark.extra_info["bytes"] = NORMAL.nbytes
    benchmark(kernels.fake_quantize, NORMAL, 0.03, 1)


@pytest.mark.benchmark(group="arithmetic")
def test_error_sums(benchmark: BenchmarkFixture) -> None:
    benchmark.extra_info["bytes"] = NORMAL.nbytes
    benchmark(kernels.error_sums, NORMAL, kernels.fake_quantize(NORMAL, 0.03))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("method", ["minmax", "mse"])
@pytest.mark.benchmark(group="arithmetic")
def test_quantize_per_channel(benchmark: BenchmarkFixture, axis: int, method: str) -> None:
    weights = NORMAL.reshape(256, -1) if axis == 0 else NORMAL.reshape(-1, 256)
    benchmark.extra_info["bytes"] = weights.nbytes
    benchmark(kernels.quantize_per_channel, weights, axis, method=method)
