"""Equalised models compute the same, and their channels have alike ranges."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper

from tests import models
from xslim.calibration.grams import ChannelRanges
from xslim.graph.io import to_proto
from xslim.graph.outputs import with_outputs
from xslim.passes import prepare
from xslim.quantization.channels import PINNED, trace_channels
from xslim.quantization.equalization import equalize

Array = NDArray[np.float32]


def run(model: ir.Model, feeds: dict[str, Any], names: list[str] | None = None) -> list[Any]:
    shown = with_outputs(model, names) if names else model
    return ort.InferenceSession(to_proto(shown).SerializeToString()).run(names, feeds)


def uneven(*shape: int, seed: int, axis: int = 0) -> Array:
    """Weights whose output channels differ by three orders of magnitude."""
    random = np.random.default_rng(seed)
    sizes = 10.0 ** random.uniform(-1.5, 1.5, shape[axis])
    along = [1] * len(shape)
    along[axis] = -1
    return (models.draw(seed, *shape) * sizes.reshape(along)).astype(np.float32)


def conv(inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node("Conv", inputs, [output], name=f"conv_{output}", **attributes)


def node(kind: str, inputs: list[str], output: str | list[str], **attributes: Any) -> onnx.NodeProto:
    outputs = [output] if isinstance(output, str) else output
    return helper.make_node(kind, inputs, outputs, name=f"{kind}_{outputs[0]}", **attributes)


BASE = {
    "w1": uneven(8, 3, 3, 3, seed=1),
    "b1": uneven(8, seed=2),
    "w2": uneven(8, 8, 3, 3, seed=3),
    "w3": models.draw(4, 5, 8, 1, 1),
    "zero": np.float32(0.0),
    "six": np.float32(6.0),
}

MIDDLES: dict[str, tuple[list[onnx.NodeProto], dict[str, NDArray[Any]]]] = {
    "relu": ([node("Relu", ["a"], "z")], {}),
    "leaky relu": ([node("LeakyRelu", ["a"], "z", alpha=0.1)], {}),
    "relu6": ([node("Clip", ["a", "zero", "six"], "z")], {}),
    "max pool": ([node("MaxPool", ["a"], "z", kernel_shape=[2, 2])], {}),
    "average pool": ([node("AveragePool", ["a"], "z", kernel_shape=[2, 2])], {}),
    "pad": ([node("Pad", ["a", "pads"], "z")], {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64)}),
    "pad with ones": (
        [node("Pad", ["a", "pads", "one"], "z")],
        {"pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), "one": np.float32(1.0)},
    ),
    "resize beyond the image": (
        [
            node(
                "Resize",
                ["a", "region", "", "sizes"],
                "z",
                coordinate_transformation_mode="tf_crop_and_resize",
                extrapolation_value=1.0,
                mode="linear",
            )
        ],
        {
            "region": np.array([0, 0, -0.5, -0.5, 1, 1, 1.5, 1.5], np.float32),
            "sizes": np.array([1, 8, 10, 10], np.int64),
        },
    ),
    "strided shortcut": (
        [
            node("Slice", ["a", "from", "to", "axes", "steps"], "s"),
            node("Pad", ["s", "more"], "p"),
            conv(["a", "wp"], "c", strides=[2, 2], pads=[1, 1, 1, 1]),
            node("Add", ["p", "c"], "d"),
            node("Relu", ["d"], "r"),
            conv(["r", "wq"], "z"),
        ],
        {
            "from": np.array([0, 0], np.int64),
            "to": np.array([8, 8], np.int64),
            "axes": np.array([2, 3], np.int64),
            "steps": np.array([2, 2], np.int64),
            "more": np.array([0, 2, 0, 0, 0, 2, 0, 0], np.int64),
            "wp": uneven(12, 8, 3, 3, seed=6),
            "wq": uneven(8, 12, 1, 1, seed=7),
        },
    ),
    "residual": (
        [
            conv(["a", "w2"], "c", pads=[1, 1, 1, 1]),
            node("Add", ["a", "c"], "s"),
            node("Relu", ["s"], "z"),
        ],
        {},
    ),
    "constant sum": ([node("Add", ["a", "k"], "z")], {"k": models.draw(7, 1, 8, 1, 1)}),
    "constant product": ([node("Mul", ["a", "k"], "z")], {"k": models.draw(7, 8, 1, 1)}),
    "depthwise": ([conv(["a", "wd"], "z", group=8)], {"wd": uneven(8, 1, 3, 3, seed=8)}),
    "grouped": ([conv(["a", "wg"], "z", group=2)], {"wg": uneven(8, 4, 3, 3, seed=9)}),
    "transposed": ([node("ConvTranspose", ["a", "wt"], "z", group=2)], {"wt": uneven(8, 4, 2, 2, seed=5)}),
    "concat": (
        [
            node("Split", ["a", "sizes"], ["p", "q"], axis=1),
            node("Relu", ["q"], "r"),
            node("Concat", ["r", "p"], "z", axis=1),
        ],
        {"sizes": np.array([3, 5], np.int64)},
    ),
    "sigmoid": ([node("Sigmoid", ["a"], "z")], {}),
    "gate": ([node("Sigmoid", ["a"], "g"), node("Mul", ["a", "g"], "z")], {}),
}


def chain(name: str) -> ir.Model:
    nodes, weights = MIDDLES[name]
    proto = models.model(
        [conv(["x", "w1", "b1"], "a", pads=[1, 1, 1, 1]), *nodes, conv(["z", "w3"], "y")],
        {"x": [1, 3, 8, 8]},
        {"y": [1, 5, "h", "w"]},
        {
            **{key: value for key, value in BASE.items() if key in ("w1", "b1", "w3") or key in _read(nodes)},
            **weights,
        },
    )
    return prepare(ir.from_proto(proto), skip_slim=True)


def _read(nodes: list[onnx.NodeProto]) -> set[str]:
    return {name for item in nodes for name in item.input}


def ranges_of(model: ir.Model, feeds: list[dict[str, Any]]) -> dict[str, NDArray[np.float64]]:
    axes = {name: item.axis for name, item in trace_channels(model.graph).items()}
    ranges = ChannelRanges(axes)
    for item in feeds:
        ranges.update(dict(zip(axes, run(model, item, list(axes)), strict=True)))
    return ranges.largest()


def only_z(ranges: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """The range of the tensor that would be quantised; preparation may have merged what writes ``z``."""
    name = "z" if "z" in ranges else "a"
    return {name: ranges[name]}


def samples(count: int = 4) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    return [{"x": random.standard_normal((1, 3, 8, 8)).astype(np.float32)} for _ in range(count)]


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("name", list(MIDDLES))
def test_the_model_computes_the_same(name: str, strength: float) -> None:
    model, feeds = chain(name), samples()
    equalized, scales = equalize(model, only_z(ranges_of(model, feeds)), strength)
    for item in feeds:
        expected, found = run(model, item)[0], run(equalized, item)[0]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    changed = any((vector != 1).any() for vector in scales.values())
    assert changed == (name not in ("sigmoid", "gate", "pad with ones", "resize beyond the image"))


@pytest.mark.parametrize("name", ["relu", "max pool", "depthwise", "grouped", "concat", "relu6"])
def test_channels_end_with_alike_ranges(name: str) -> None:
    model, feeds = chain(name), samples()
    before = ranges_of(model, feeds)
    equalized, _ = equalize(model, only_z(before))
    after = ranges_of(equalized, feeds)["z"]
    active = before["z"] > before["z"].max() / 64
    assert before["z"][active].max() > 3 * before["z"][active].min()
    assert after[active].max() < 1.01 * after[active].min()


def test_producers_of_one_sum_share_their_scales() -> None:
    channels = trace_channels(chain("residual").graph)
    for name in ("c", "s", "z"):
        np.testing.assert_array_equal(channels["a"].ids, channels[name].ids)
    assert len(set(channels["a"].ids.tolist())) == 8


def test_channels_of_a_padded_shortcut_are_those_of_the_sum() -> None:
    channels = trace_channels(chain("strided shortcut").graph)
    np.testing.assert_array_equal(channels["d"].ids[2:10], channels["a"].ids)
    assert (channels["d"].ids != PINNED).all()
    assert len(set(channels["d"].ids.tolist())) == 12


def test_what_knows_no_scale_pins_what_it_reads() -> None:
    channels = trace_channels(chain("sigmoid").graph)
    assert (channels["a"].ids == PINNED).all()
    assert (trace_channels(chain("relu").graph)["y"].ids == PINNED).all()


def test_a_dead_channel_is_left_finite() -> None:
    model = chain("relu")
    ranges = ranges_of(model, samples())
    ranges["z"][2] = 0.0
    equalized, scales = equalize(model, ranges)
    assert np.isfinite(scales["z"]).all()
    assert scales["z"][2] >= scales["z"].max() / 65
    item = samples(1)[0]
    np.testing.assert_allclose(run(equalized, item)[0], run(model, item)[0], rtol=1e-4, atol=1e-3)


def test_shared_biases_are_split() -> None:
    weights = {
        "w1": uneven(8, 3, 1, 1, seed=1),
        "w2": uneven(8, 8, 1, 1, seed=2),
        "w3": models.draw(3, 5, 8, 1, 1),
    }
    nodes = [
        conv(["x", "w1", "b"], "a"),
        node("Relu", ["a"], "r"),
        conv(["r", "w2", "b"], "c"),
        node("Relu", ["c"], "z"),
        conv(["z", "w3"], "y"),
    ]
    proto = models.model(nodes, {"x": [1, 3, 8, 8]}, {"y": [1, 5, 8, 8]}, {**weights, "b": models.draw(5, 8)})
    model, feeds = prepare(ir.from_proto(proto), skip_slim=True), samples()
    equalized, scales = equalize(model, ranges_of(model, feeds))
    assert (scales["a"] != scales["c"]).any()
    for item in feeds:
        np.testing.assert_allclose(run(equalized, item)[0], run(model, item)[0], rtol=1e-4, atol=1e-4)
