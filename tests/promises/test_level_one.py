"""With few samples, refinement loses nothing on samples that it has not seen."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

import xslim
from tests.models import draw, model
from xslim.runtime import Session

Rows = NDArray[np.float32]


def perceptron() -> onnx.ModelProto:
    weights = {"w1": draw(1, 24, 24), "w2": draw(2, 32, 24), "w3": draw(3, 10, 32)}
    nodes = [
        helper.make_node("Gemm", ["x", "w1"], ["a"], name="first", transB=1),
        helper.make_node("Relu", ["a"], ["b"], name="relu1"),
        helper.make_node("Gemm", ["b", "w2"], ["c"], name="second", transB=1),
        helper.make_node("Relu", ["c"], ["d"], name="relu2"),
        helper.make_node("Gemm", ["d", "w3"], ["y"], name="third", transB=1),
    ]
    return model(nodes, {"x": ["n", 24]}, {"y": ["n", 10]}, weights)


def rows(count: int, seed: int) -> Rows:
    """Samples of different loudness: in few of them, some channels are silent by chance."""
    generator = np.random.default_rng(seed)
    loudness = generator.lognormal(0, 0.5, (count, 1))
    return (generator.standard_normal((count, 24)) * loudness).astype(np.float32)


def sqnr(float_model: onnx.ModelProto, quantised: onnx.ModelProto, fresh: Rows) -> float:
    expected = Session(float_model.SerializeToString()).run({"x": fresh})[0]
    found = Session(quantised.SerializeToString(), qdq_as_written=True).run({"x": fresh})[0]
    return float(10 * np.log10((expected**2).sum() / ((expected - found) ** 2).sum()))


@pytest.mark.parametrize("count", [2, 3, 4, 6])
@pytest.mark.parametrize("seed", [0, 2])
def test_level_one_is_no_worse_than_level_zero(count: int, seed: int) -> None:
    float_model, samples, fresh = perceptron(), rows(count, seed), rows(300, 99)
    plain, refined = (xslim.quantize(float_model, samples, finetune_level=level) for level in (0, 1))
    loss = sqnr(float_model, plain.model, fresh) - sqnr(float_model, refined.model, fresh)
    assert loss < 0.5


@pytest.mark.parametrize("seed", [0, 1])
def test_level_one_leaves_room_for_louder_samples(seed: int) -> None:
    float_model, samples, fresh = perceptron(), rows(3, seed), rows(300, 99)
    plain, refined = (xslim.quantize(float_model, samples, finetune_level=level) for level in (0, 1))
    gain = sqnr(float_model, refined.model, fresh) - sqnr(float_model, plain.model, fresh)
    assert gain > 2
    assert [item.kept for item in refined.gains if item.step.startswith("wider ranges")] == [True]
