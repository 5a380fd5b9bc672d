"""Tensors in blocks of channels give the collectors what the same tensors give in the usual order."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper

from tests import models
from xslim.calibration.collectors import SketchCollector
from xslim.calibration.grams import ChannelRanges, GramCollector
from xslim.graph.io import load_model
from xslim.graph.layers import Vectors, Window
from xslim.kernels import Sketch
from xslim.runtime import Blocked, Session, blocked_session


def in_blocks(array: NDArray[Any], block: int) -> Blocked:
    images, channels, height, width = array.shape
    ordered = array.reshape(images, channels // block, block, height, width).transpose(0, 1, 3, 4, 2)
    return Blocked(np.ascontiguousarray(ordered).reshape(array.shape), block)


def images(
    seed: int, channels: int = 32, size: tuple[int, int] = (7, 9), count: int = 2
) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, channels, *size)).astype(np.float32)


@pytest.mark.parametrize("block", [8, 16])
def test_the_plain_tensor_comes_back(block: int) -> None:
    array = images(0)
    assert np.array_equal(in_blocks(array, block).plain(), array)


def test_sketches_are_the_same() -> None:
    array = images(1)
    usual, blocked = SketchCollector({"x": Sketch()}), SketchCollector({"x": Sketch()})
    usual.update({"x": array})
    blocked.update({"x": in_blocks(array, 8)})
    assert usual.sketches["x"].to_bytes() == blocked.sketches["x"].to_bytes()


@pytest.mark.parametrize("axis", [None, 1, 2])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (7, 9), (8, 4)])
@pytest.mark.parametrize("nan", [False, True])
def test_ranges_are_the_same(axis: int | None, size: tuple[int, int], nan: bool) -> None:
    array = images(2, count=1 if axis == 2 else 3, size=size)
    if nan:
        array[0, 3, -1, -1] = np.nan
    usual, blocked = ChannelRanges({"x": axis}), ChannelRanges({"x": axis})
    usual.update({"x": array})
    blocked.update({"x": in_blocks(array, 16)})
    assert np.array_equal(usual.low["x"], blocked.low["x"], equal_nan=True)
    assert np.array_equal(usual.high["x"], blocked.high["x"], equal_nan=True)


@given(
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    depthwise=st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_second_moments_are_the_same(
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    pads: tuple[int, int, int, int],
    depthwise: bool,
) -> None:
    array = images(3, channels=16, size=(8, 9))
    window = Window(kernel, strides, dilations, pads)
    taps = kernel[0] * kernel[1]
    vectors = Vectors("x", 16, taps, window) if depthwise else Vectors("x", 1, 16 * taps, window)
    found = []
    for tensor in (array, in_blocks(array, 8)):
        collector = GramCollector([vectors], 1_000, lambda _: False)
        for _ in range(3):
            collector.update({"x": tensor})
        found.append(collector.grams[vectors])
    assert found[0].count == found[1].count
    assert np.array_equal(found[0].mean, found[1].mean)
    assert np.array_equal(found[0].second, found[1].second)


def test_vectors_along_the_last_axis_are_the_same() -> None:
    array, vectors = images(4), Vectors("x", 1, 9)
    found = []
    for tensor in (array, in_blocks(array, 8)):
        collector = GramCollector([vectors], 10, lambda _: False)
        collector.update({"x": tensor})
        found.append(collector.grams[vectors])
    assert np.array_equal(found[0].second, found[1].second)


@pytest.fixture(name="fast")
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the usual session take longer, whatever the machine."""
    clock: Iterator[float] = iter([0.0, 2.0, 0.0, 1.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))


@pytest.mark.usefixtures("fast")
def test_a_session_in_blocks_returns_the_same_values() -> None:
    weights = {
        "w1": models.draw(1, 32, 3, 3, 3),
        "w2": models.draw(2, 16, 32, 1, 1),
        "w3": models.draw(3, 12, 16, 1, 1),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"]),
        helper.make_node("Conv", ["c2", "w3"], ["y"]),
    ]
    shapes = {"r1": [1, 32, 12, 12], "c2": [1, 16, 12, 12], "y": [1, 12, 12, 12]}
    net = load_model(models.model(nodes, {"x": [1, 3, 12, 12]}, shapes, weights))
    names, sample = list(shapes), {"x": images(5, 3, (12, 12), 1)}
    usual = Session(net, names, threads=1)
    session = blocked_session(net, names, usual, sample)
    if session is None:
        pytest.skip("onnxruntime has no blocks of channels on this processor")
    found = session.run(sample)
    assert [isinstance(item, Blocked) for item in found] == [True, True, False]
    for item, expected in zip(found, usual.run(sample), strict=True):
        assert np.array_equal(item.plain() if isinstance(item, Blocked) else item, expected)
