"""The constant of a Pad is within the range of what it pads, unless no one sees it or it is far away."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import xslim
from tests.quantization.build import graph, int8, normal, plan_of, prepared, run, sqnr

NET = """(float[1,3,16,16] x) => (float[1,4,16,16] y) {
    a = Conv<kernel_shape = [3, 3]>(x, w, b)
    s = ACTIVATION(a)
    q = PAD(s, pads, fill)
    y = Conv<kernel_shape = [3, 3]>(q, v)
}"""
INPUT = """(float[1,3,16,16] x) => (float[1,4,18,18] y) {
    q = PAD(x, wide, fill)
    s = Conv<kernel_shape = [3, 3]>(q, w, b)
    y = Conv<kernel_shape = [1, 1]>(s, u)
}"""
POOLED = """(float[1,3,16,16] x) => (float[1,4,7,7] y) {
    a = Conv<kernel_shape = [3, 3]>(x, w, b)
    s = Relu(a)
    q = PAD(s, pads, fill)
    m = MaxPool<kernel_shape = [3, 3], strides = [2, 2]>(q)
    y = Conv<kernel_shape = [1, 1]>(m, u)
}"""


def net(text: str, fill: float, activation: str = "Sigmoid", pad: str = "Pad") -> onnx.ModelProto:
    """Return a small network with a Pad in it."""
    text = text.replace("ACTIVATION", activation).replace("PAD", pad)
    weights: dict[str, NDArray[np.generic]] = {
        "w": normal(1, 8, 3, 3, 3, scale=0.2),
        "b": normal(2, 8, scale=0.2),
        "v": normal(3, 4, 8, 3, 3, scale=0.2),
        "u": normal(4, 4, 8, 1, 1, scale=0.4),
        "pads": np.array([0, 0, 2, 2, 0, 0, 2, 2]),
        "wide": np.array([0, 0, 2, 2, 0, 0, 2, 2]),
        "fill": np.float32(fill),
    }
    return graph(text, {name: value for name, value in weights.items() if name in text})


def quantised(
    model: onnx.ModelProto, samples: NDArray[np.float32], finetune: int = 0, **options: Any
) -> tuple[xslim.Result, float, float]:
    """Return the result, and the dB of its output and of the part of it that no constant reaches."""
    result = xslim.quantize(model, samples, finetune_level=finetune, **options)
    rows = [(run(model, {"x": x[None]})[0], run(result.model, {"x": x[None]})[0]) for x in samples[:8]]
    whole, test = (np.concatenate(part) for part in zip(*rows, strict=True))
    inner = np.s_[..., 2:-2, 2:-2]
    return result, sqnr(whole, test), sqnr(whole[inner], test[inner])


PICTURES = normal(0, 24, 3, 16, 16)
UNIT = np.random.default_rng(0).random((24, 3, 16, 16), dtype=np.float32)


@pytest.mark.parametrize("activation", ["Sigmoid", "Relu", "Identity"])
@pytest.mark.parametrize("fill", [-1.0, 1.5])
@pytest.mark.parametrize("target", ["spacemit", "generic"])
def test_a_padding_outside_of_the_data_is_not_clipped(activation: str, fill: float, target: str) -> None:
    result, whole, inner = quantised(net(NET, fill, activation), PICTURES, target=target)
    assert min(whole, inner) > 30
    low, high = result.parameters["q"].range_seen or (0, 0)
    assert low <= fill <= high


@pytest.mark.parametrize("finetune", [1, 2, 3])
def test_no_step_of_refinement_clips_the_padding(finetune: int) -> None:
    _, whole, inner = quantised(net(NET, -1.0), PICTURES, finetune)
    assert min(whole, inner) > 30


@pytest.mark.parametrize("method", ["default", "kl", "minmax", "mse", "percentile"])
def test_every_method_keeps_the_padding(method: str) -> None:
    _, whole, _ = quantised(net(INPUT, -1.0), UNIT, calibration_type=method)
    assert whole > 30


@pytest.mark.parametrize(("fill", "low", "high"), [(0.0, 0.2, 1.0), (1.0, 0.0, 0.5), (-2.0, 0.0, 1.0)])
def test_a_padded_input_keeps_its_padding(fill: float, low: float, high: float) -> None:
    _, whole, _ = quantised(net(INPUT, fill), low + (high - low) * UNIT)
    assert whole > 30


@pytest.mark.parametrize("fill", [114.0, -2000.0, -1e9])
def test_a_padding_far_from_the_data_does_not_blur_the_data(fill: float) -> None:
    result, whole, inner = quantised(net(NET, fill), UNIT)
    assert min(whole, inner) > 25
    assert "q" not in result.parameters


MOVES = {
    "Transpose": "OUT = Transpose<perm = [0, 1, 3, 2]>(IN)",
    "MaxPool": "OUT = MaxPool<kernel_shape = [2, 2]>(IN)",
    "Slice": "OUT = Slice(IN, starts, ends, axes)",
    "Concat": "r = PAD(a, pads, none)  OUT = Concat<axis = 1>(IN, r)",
    "two": "m = MaxPool<kernel_shape = [2, 2]>(IN)  OUT = Transpose<perm = [0, 1, 3, 2]>(m)",
}


@pytest.mark.parametrize("finetune", [0, 1])
@pytest.mark.parametrize("place", ["before", "behind"])
@pytest.mark.parametrize("kind", MOVES)
def test_a_far_padding_beside_an_operator_that_moves_data(kind: str, place: str, finetune: int) -> None:
    if place == "behind":
        moved = "p = PAD(s, pads, fill)  " + MOVES[kind].replace("IN", "p").replace("OUT", "q")
    else:
        moved = MOVES[kind].replace("IN", "s").replace("OUT", "t").replace("none", "fill")
        moved = moved.replace("r = PAD(a, pads, fill)", "r = Relu(a)") + "  q = PAD(t, pads, fill)"
    text = NET.replace("q = PAD(s, pads, fill)", moved).replace("float[1,4,16,16] y", "float[1,4,N,M] y")
    constants = {
        "v": normal(3, 4, 16 if kind == "Concat" else 8, 3, 3, scale=0.2),
        "starts": np.array([0]),
        "ends": np.array([8]),
        "axes": np.array([1]),
        "none": np.float32(0),
    }
    whole_text = text.replace("ACTIVATION", "Sigmoid").replace("PAD", "Pad")
    given = _weights(net(NET, 114.0)) | constants
    model = graph(whole_text, {name: value for name, value in given.items() if name in whole_text})
    result, whole, inner = quantised(model, UNIT, finetune)
    assert min(whole, inner) > 25
    assert "q" not in result.parameters


@pytest.mark.parametrize("fill", [2.0, 6.0])
def test_a_near_padding_stays_int8(fill: float) -> None:
    result, whole, inner = quantised(net(NET, fill), UNIT)
    assert ("q" in result.parameters) == (fill == 2.0)
    assert min(whole, inner) > 20


@pytest.mark.parametrize("fill", [-np.inf, -1e9, -2000.0, -5.0, -1.0])
def test_a_padding_below_the_data_costs_nothing_before_a_maximum(fill: float) -> None:
    _, whole, _ = quantised(net(POOLED, fill), PICTURES)
    _, plain, _ = quantised(net(POOLED, 0.0), PICTURES)
    assert whole > plain - 0.5


def test_a_padding_above_the_data_decides_a_maximum() -> None:
    _, whole, _ = quantised(net(POOLED, 5.0), PICTURES)
    assert whole > 30


@pytest.mark.parametrize(
    ("text", "fill", "pad"),
    [(POOLED, 0.0, "Pad"), (NET, 1.5, 'Pad<mode = "edge">'), (NET, 1.5, 'Pad<mode = "reflect">')],
)
def test_only_a_constant_other_than_zero_is_observed(text: str, fill: float, pad: str) -> None:
    plan = plan_of(prepared(net(text, fill, pad=pad)))
    group = next(group for group in plan.groups if group.name == "s")
    assert "q" in group.tensors
    assert group.observed == ("s",)


def test_a_constant_that_only_a_run_shows_is_observed() -> None:
    text = INPUT.replace("x) =>", "x, float fill) =>")
    model = graph(
        text.replace("PAD", "Pad"), {k: v for k, v in _weights(net(INPUT, 0.0)).items() if k != "fill"}
    )
    plan = plan_of(prepared(model))
    assert "q" in plan.observed
    assert "y" in int8(plan)


def _weights(model: onnx.ModelProto) -> dict[str, NDArray[np.generic]]:
    return {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
