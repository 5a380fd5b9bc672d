"""Few or equal samples, black images and constant inputs give a valid model, never an internal error."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.promises.static_runs import Net, configuration, weights
from xslim import quantize_onnx_model
from xslim.kernels import ErrorMetrics
from xslim.runtime import Session

Array = NDArray[Any]
Draw = Callable[[np.random.Generator, int], Array]

CONDITIONED = Net(
    """(float[1,4,32] x, float[1,1,32] c) => (float[1,4,8] y) {
        a = MatMul(x, w1)  b = MatMul(c, w2)  s = Add(a, b)  r = Relu(s)  m = MatMul(r, w3)  y = Add(m, b3)
    }""",
    {
        "w1": weights(1, 32, 32),
        "w2": weights(2, 32, 32),
        "w3": weights(3, 32, 8),
        "b3": weights(4, 8),
    },
)
IMAGES = Net(
    """(float[1,3,8,8] x) => (float[1,10] y) {
        c1 = Conv <pads = [1, 1, 1, 1]> (x, w1, b1)  r1 = Relu(c1)
        c2 = Conv <pads = [1, 1, 1, 1], group = 8> (r1, w2)  r2 = Relu(c2)
        c3 = Conv(r2, w3, dead)  r3 = Relu(c3)
        g = GlobalAveragePool(r3)  f = Flatten(g)  y = Gemm <transB = 1> (f, w4)
    }""",
    {
        "w1": weights(1, 8, 3, 3, 3),
        "b1": weights(2, 8),
        "w2": weights(3, 8, 1, 3, 3),
        "w3": weights(4, 12, 8, 1, 1),
        # Half of the channels never pass the Relu.
        "dead": np.where(np.arange(12) % 2, 0, -1e3).astype(np.float32),
        "w4": weights(5, 10, 12),
    },
)


def normal(shape: tuple[int, ...]) -> Draw:
    return lambda random, _: random.standard_normal(shape).astype(np.float32)


def same(shape: tuple[int, ...], value: float | None = None) -> Draw:
    drawn = np.random.default_rng(9).standard_normal(shape)
    return lambda _random, _index: (drawn if value is None else np.full(shape, value)).astype(np.float32)


def scaled(draw: Draw, size: float) -> Draw:
    return lambda random, index: draw(random, index) * np.float32(size)


def features(random: np.random.Generator, _index: int) -> Array:
    """Two large constants among values around zero, as the size of an image among its measures."""
    x = random.standard_normal((1, 4, 32)).astype(np.float32)
    x[..., 3], x[..., 5] = 1920, 1080
    return x


def black_at_first(random: np.random.Generator, index: int) -> Array:
    return np.float32(index > 1) * random.standard_normal((1, 3, 8, 8)).astype(np.float32)


X, C, IMAGE = (1, 4, 32), (1, 1, 32), (1, 3, 8, 8)
CASES: dict[str, tuple[Net, dict[str, Draw]]] = {
    "constant condition": (CONDITIONED, {"x": normal(X), "c": same(C)}),
    "large constants": (CONDITIONED, {"x": features, "c": normal(C)}),
    "all equal": (CONDITIONED, {"x": same(X), "c": same(C)}),
    "far from zero": (
        CONDITIONED,
        {"x": lambda random, _: normal(X)(random, 0) + np.float32(3e3), "c": same(C)},
    ),
    "equal images": (IMAGES, {"x": same(IMAGE)}),
    "grey images": (IMAGES, {"x": same(IMAGE, 0.5)}),
    "black images": (IMAGES, {"x": same(IMAGE, 0.0)}),
    "black at first": (IMAGES, {"x": black_at_first}),
    "tiny values": (IMAGES, {"x": scaled(normal(IMAGE), 1e-20)}),
    "usual images": (IMAGES, {"x": normal(IMAGE)}),
}


def drawn(inputs: dict[str, Draw], count: int) -> list[dict[str, Array]]:
    random = np.random.default_rng(1)
    return [{name: draw(random, index) for name, draw in inputs.items()} for index in range(count)]


def sqnr_db(net: Net, result: Any, samples: list[dict[str, Array]]) -> float:
    total = ErrorMetrics()
    expected = Session(net.proto.SerializeToString())
    found = Session(result.SerializeToString(), qdq_as_written=True)
    for sample in samples:
        total.update(expected.run(sample)[0], found.run(sample)[0])
    return total.sqnr_db


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9])
@pytest.mark.parametrize("name", CASES)
def test_any_samples_make_a_sound_model(
    name: str, count: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net, inputs = CASES[name]
    samples = drawn(inputs, count)
    with caplog.at_level(logging.INFO, "xslim"):
        result = quantize_onnx_model(configuration(tmp_path, samples), net.proto, tmp_path / "y.onnx")
    assert sqnr_db(net, result, samples) > 15 or name == "black at first"
    said = [record.getMessage() for record in caplog.records if record.name == "xslim.refinement.candidate"]
    assert len(said) == len(set(said))
    kinds = {tuple(array.tobytes() for array in sample.values()) for sample in samples}
    assert any("nothing is fitted but biases" in message for message in said) == (len(kinds) == 1)


@pytest.mark.parametrize("name", ["usual images", "constant condition"])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 8])
def test_refinement_does_not_lose_on_fresh_samples(name: str, count: int, tmp_path: Path) -> None:
    net, inputs = CASES[name]
    seen, fresh = drawn(inputs, count), drawn(inputs, count + 40)[count:]
    plain, refined = (
        quantize_onnx_model(
            configuration(tmp_path, seen, finetune_level=level), net.proto, tmp_path / f"{level}.onnx"
        )
        for level in (0, 1)
    )
    assert sqnr_db(net, refined, fresh) > sqnr_db(net, plain, fresh) - 0.5


@pytest.mark.parametrize("level", [2, 3])
def test_one_sample_at_higher_levels(level: int, tmp_path: Path) -> None:
    net, inputs = CASES["usual images"]
    samples = drawn(inputs, 1)
    found = [
        quantize_onnx_model(
            configuration(tmp_path, samples, finetune_level=each), net.proto, tmp_path / f"{each}.onnx"
        ).SerializeToString()
        for each in (1, level)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize("name", ["equal images", "all equal", "usual images", "constant condition"])
def test_equal_samples_are_mentioned_and_not_called_unseen(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net, inputs = CASES[name]
    with caplog.at_level(logging.INFO, "xslim"):
        quantize_onnx_model(configuration(tmp_path, drawn(inputs, 20)), net.proto, tmp_path / "y.onnx")
    repeated = name in ("equal images", "all equal")
    assert ("samples that were looked at are equal" in caplog.text) == repeated
    assert ("that calibration has not seen" in caplog.text) == (not repeated)


@pytest.mark.parametrize(("times", "warned"), [(1, False), (2, True)])
def test_copies_are_mentioned_and_kept_from_the_comparison(
    times: int, warned: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net, inputs = CASES["usual images"]
    samples = drawn(inputs, 20) * times
    with caplog.at_level(logging.INFO, "xslim"):
        quantize_onnx_model(configuration(tmp_path, samples), net.proto, tmp_path / "y.onnx")
    assert ("samples are copies of others" in caplog.text) == warned
    assert "on 2 samples that calibration has not seen" in caplog.text


@pytest.mark.parametrize("name", ["usual images", "constant condition"])
def test_copies_change_nothing_in_the_result(name: str, tmp_path: Path) -> None:
    net, inputs = CASES[name]
    samples = drawn(inputs, 10)
    once, often = (
        quantize_onnx_model(
            configuration(tmp_path, samples * times), net.proto, tmp_path / "y.onnx"
        ).SerializeToString()
        for times in (1, 8)
    )
    assert once == often
