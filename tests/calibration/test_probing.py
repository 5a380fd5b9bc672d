"""A network that learnt on images of a known normalisation tells which one it was."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from tests import models
from xslim.calibration.probing import Measured, Normalisation, Subject, measure
from xslim.calibration.probing.candidates import NORMALISATIONS
from xslim.runtime import Feeds, Session

Floats = NDArray[np.float32]

TINTS = {1: (90.0,), 3: (150.0, 110.0, 60.0)}
"""Mean colour of the images, in the order RGB."""


CANDIDATES = len(NORMALISATIONS)


def pictures(channels: int, count: int = 8, seed: int = 3) -> list[Floats]:
    """Draw smooth pictures from 0 to 255, of shape (channels, 16, 16), in the order BGR."""
    random = np.random.default_rng(seed)
    tint = np.array(TINTS[channels][::-1], np.float32)[:, None, None]
    coarse = random.normal(0, 45, (count, channels, 4, 4)).astype(np.float32)
    fine = coarse.repeat(4, axis=2).repeat(4, axis=3)
    return [np.clip(tint + picture, 0, 255).astype(np.float32) for picture in fine]


def trained(truth: Normalisation, order: str, channels: int) -> onnx.ModelProto:
    """Make Conv, BatchNormalization, Relu, pooling and classes; the statistics come from real inputs."""
    weight = models.draw(5, 12, channels, 3, 3)
    one, zero = np.ones(12, np.float32), np.zeros(12, np.float32)
    weights = {"w": weight, "gamma": one, "beta": zero, "mean": zero, "var": one, "v": models.draw(6, 7, 12)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node(
            "BatchNormalization", ["c", "gamma", "beta", "mean", "var"], ["n"], name="norm", epsilon=0.0
        ),
        helper.make_node("Relu", ["n"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], name="gap"),
        helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "v"], ["y"], name="fc", transB=1),
    ]
    seen = np.stack([truth.apply(image, order) for image in pictures(channels, 32, seed=4)])
    shape = {"x": ["batch", channels, "height", "width"]}
    first = models.model(nodes[:1], shape, {"c": ["batch", 12, "height", "width"]}, {"w": weight})
    (values,) = Session(first.SerializeToString()).run({"x": seen})
    learnt = {"mean": values.mean(axis=(0, 2, 3)), "var": values.var(axis=(0, 2, 3))}
    return models.model(nodes, shape, {"y": ["batch", 7]}, weights | learnt)


def in_half(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Return a float32 model in float16."""
    half = onnx.ModelProto()
    half.CopyFrom(proto)
    for value in (*half.graph.input, *half.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    for item in half.graph.initializer:
        item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item).astype(np.float16), item.name))
    return half


def with_biases() -> onnx.ModelProto:
    """Make Conv with biases, Relu, pooling and classes, without BatchNormalization."""
    weights = {"w": models.draw(5, 12, 3, 3, 3), "b": models.draw(7, 12), "v": models.draw(6, 7, 12)}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], name="gap"),
        helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "v"], ["y"], name="fc", transB=1),
    ]
    return models.model(nodes, {"x": ["batch", 3, 16, 16]}, {"y": ["batch", 7]}, weights)


def found_by(proto: onnx.ModelProto, images: Sequence[Floats]) -> Measured:
    model = ir.from_proto(proto)
    return measure(Subject(model, "x", {"stretched": images}, Session))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("truth", NORMALISATIONS[:-1], ids=lambda truth: truth.label)
def test_a_usual_normalisation_is_recognised(truth: Normalisation, channels: int) -> None:
    found = found_by(trained(truth, "rgb", channels), pictures(channels))
    assert found.by == "BatchNorm"
    assert found.best is not None
    mean, std = found.best.normalisation.numbers(channels, "rgb")
    expected_mean, expected_std = truth.numbers(channels, "rgb")
    # The pixels have a deviation of some 45, so 10 of them are little.
    assert np.allclose(mean, expected_mean, atol=10)
    assert np.allclose(std, expected_std, rtol=0.15)


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_the_order_of_colours_shows_in_the_statistics(order: str) -> None:
    found = found_by(trained(Normalisation("0 to 1", (0.0,), (255.0,)), order, 3), pictures(3))
    assert found.order == order


def test_an_unusual_normalisation_is_computed() -> None:
    found = found_by(trained(Normalisation("own", (40.0,), (20.0,)), "rgb", 1), pictures(1))
    assert found.best is not None
    assert found.best.normalisation.label == "fitted"
    assert found.best.normalisation.mean == pytest.approx((40,), abs=8)
    assert found.best.normalisation.std == pytest.approx((20,), rel=0.15)


@pytest.mark.parametrize("truth", [NORMALISATIONS[1], Normalisation("own", (40.0,), (20.0,))], ids=str)
def test_images_of_different_sizes_tell_the_same(truth: Normalisation) -> None:
    sizes = [(16, 16), (12, 16), (16, 8), (12, 16), (14, 15), (16, 16), (9, 16), (13, 11)]
    images = [image[:, :high, :wide] for image, (high, wide) in zip(pictures(3), sizes, strict=True)]
    found = found_by(trained(truth, "rgb", 3), images)
    assert found.best is not None
    mean, std = found.best.normalisation.numbers(3, "rgb")
    expected_mean, expected_std = truth.numbers(3, "rgb")
    assert np.allclose(mean, expected_mean, atol=12)
    assert np.allclose(std, expected_std, rtol=0.2)


def test_a_model_that_cuts_the_image_into_parts_tells_the_same() -> None:
    truth = NORMALISATIONS[1]
    proto = trained(truth, "rgb", 3)
    nodes = [
        helper.make_node("Split", ["image"], ["upper", "lower"], name="cut", axis=2),
        helper.make_node("Concat", ["upper", "lower"], ["x"], name="parts", axis=0),
        *proto.graph.node,
    ]
    weights = {item.name: numpy_helper.to_array(item) for item in proto.graph.initializer}
    cut = models.model(nodes, {"image": [1, 3, 16, 16]}, {"y": ["parts", 7]}, weights)
    found = measure(Subject(ir.from_proto(cut), "image", {"": pictures(3)}, Session))
    assert found.by == "BatchNorm"
    assert found.best is not None
    assert found.best.normalisation == truth


@pytest.mark.parametrize("bright", [1.0, 40.0])
def test_float16_is_measured_without_overflow(bright: float) -> None:
    proto = in_half(trained(NORMALISATIONS[0], "rgb", 3))
    images = [bright * image for image in pictures(3)]
    found = measure(Subject(ir.from_proto(proto), "x", {"": images}, Session, dtype=np.dtype(np.float16)))
    assert found.by == "BatchNorm"
    if bright == 1:
        assert found.best is not None
        assert found.best.normalisation == NORMALISATIONS[0]


def test_detections_that_differ_in_number_tell_nothing() -> None:
    """The model returns the positions that are positive; there may be none."""
    weights = {"w": models.draw(5, 12, 3, 3, 3), "axis": np.array([1])}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("NonZero", ["r"], ["found"], name="nonzero"),
        helper.make_node("Transpose", ["found"], ["places"], name="turn", perm=[1, 0]),
        helper.make_node("GatherND", ["r", "places"], ["scores"], name="gather"),
        helper.make_node("Unsqueeze", ["scores", "axis"], ["y"], name="column"),
    ]
    proto = models.model(nodes, {"x": ["batch", 3, 16, 16]}, {"y": ["found", 1]}, weights)
    assert found_by(proto, pictures(3)).best is None
    black = [np.zeros((3, 16, 16), np.float32)] * 4
    assert found_by(proto, black).best is None


def test_images_of_another_world_tell_nothing() -> None:
    proto = trained(Normalisation("0 to 1", (0.0,), (255.0,)), "rgb", 3)
    black = [np.zeros((3, 16, 16), np.float32)] * 4
    assert found_by(proto, black).best is None


def test_the_configured_input_is_judged_as_well() -> None:
    truth = Normalisation("0 to 1", (0.0,), (255.0,))
    images = pictures(3)
    model = ir.from_proto(trained(truth, "rgb", 3))
    given = [image[None] for image in images]
    found = measure(Subject(model, "x", {"": images}, Session, given=given, order="rgb"))
    assert found.given is not None
    assert found.best is not None
    assert found.given.distance is not None
    assert found.best.distance is not None
    assert found.given.distance > 20 * found.best.distance
    assert found.order is None


def test_biases_of_the_first_layer_exclude_another_scale() -> None:
    """Without BatchNormalization, biases tell inputs around one from inputs around a hundred."""
    proto = with_biases()
    found = found_by(proto, pictures(3))
    assert found.by == "answers"
    assert {trial.normalisation.label for trial in found.trials if trial.excluded} == {
        "0 to 255",
        "ImageNet of Caffe",
    }
    assert found.best is not None
    assert not found.best.excluded


@pytest.mark.parametrize(
    ("fed_as", "runs"),
    [("the best", 2 * CANDIDATES), ("nearly", 2 * (CANDIDATES + 1)), ("wrong", 10 * CANDIDATES)],
)
def test_right_answers_on_two_images_spare_the_others(fed_as: str, runs: int) -> None:
    """The model runs on the eight images only if the first two disagree, and never twice on equal input."""
    proto = with_biases()
    fed = []

    class Counted(Session):
        def run(self, feeds: Feeds) -> list[NDArray[np.generic]]:
            fed.append(feeds)
            return super().run(feeds)

    images = pictures(3)
    best = found_by(proto, images).trials[0].normalisation
    right = [best.apply(image, "rgb")[None] for image in images]
    given = {
        "the best": right,
        "nearly": [np.asarray(1.001 * image, np.float32) for image in right],
        "wrong": [image[::-1][None] for image in images],
    }[fed_as]
    subject = Subject(ir.from_proto(proto), "x", {"": images}, Counted, given=given, order="rgb")
    found = measure(subject)
    assert len(fed) == runs
    assert found.given is not None
    assert found.given.excluded is (fed_as == "wrong")
    assert (found.best is found.given) is (fed_as != "wrong")


def test_activations_that_saturate_exclude_a_scale() -> None:
    """Without biases, a Sigmoid that is always at its end tells that the input is too large."""
    weights = {"w": np.abs(models.draw(5, 12, 3, 3, 3)), "v": models.draw(6, 7, 12)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("Sigmoid", ["c"], ["s"], name="sigmoid"),
        helper.make_node("GlobalAveragePool", ["s"], ["g"], name="gap"),
        helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "v"], ["y"], name="fc", transB=1),
    ]
    proto = models.model(nodes, {"x": ["batch", 3, 16, 16]}, {"y": ["batch", 7]}, weights)
    bright = [np.clip(image + 60, 40, 255).astype(np.float32) for image in pictures(3)]
    found = found_by(proto, bright)
    excluded = {trial.normalisation.label for trial in found.trials if trial.excluded}
    assert "0 to 255" in excluded
    assert not excluded & {"0 to 1", "-1 to 1", "ImageNet"}


def test_a_model_without_scores_tells_nothing() -> None:
    weights = {"w": models.draw(5, 3, 3, 3, 3)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv", pads=[1, 1, 1, 1])]
    proto = models.model(nodes, {"x": ["batch", 3, 16, 16]}, {"y": ["batch", 3, 16, 16]}, weights)
    found = found_by(proto, pictures(3))
    assert (found.by, found.best) == ("", None)
