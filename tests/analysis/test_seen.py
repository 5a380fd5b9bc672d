"""Samples in the report: what is fed, undone to pixels, and what the float model answers."""

from __future__ import annotations

import base64

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from xslim.analysis.facts import InputFacts
from xslim.analysis.seen import InputView, sample_views

MEAN, DEVIATION = (10.0, 20.0, 30.0), (2.0, 4.0, 8.0)


def facts(color_format: str = "", *, normalised: bool = True) -> InputFacts:
    mean, deviation = (MEAN, DEVIATION) if normalised else ((), ())
    return InputFacts("x", (1, 3, 16, 12), "float32", "img", "", color_format, mean, deviation)


def view_of(array: NDArray[np.generic], item: InputFacts | None = None) -> InputView:
    (sample,) = sample_views([{"x": array}], [{}], [item] if item else [])
    return sample.inputs[0]


def decoded(view: InputView) -> NDArray[np.uint8]:
    data = base64.b64decode(view.picture.removeprefix("data:image/png;base64,"))
    image: NDArray[np.uint8] = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return image


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    """An image in the order BGR."""
    return np.random.default_rng(0).integers(0, 256, (16, 12, 3), np.uint8)


@pytest.mark.parametrize("color_format", ["bgr", "rgb"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_a_picture_is_the_image_before_mean_and_deviation(
    pixels: NDArray[np.uint8], color_format: str, channels_last: bool
) -> None:
    ordered = pixels if color_format == "bgr" else pixels[..., ::-1]
    fed = ((ordered.astype(np.float32) - MEAN) / DEVIATION).astype(np.float32)[None]
    view = view_of(fed if channels_last else fed.transpose(0, 3, 1, 2), facts(color_format))
    assert np.array_equal(decoded(view), pixels)
    assert view.outside == 0


def test_a_picture_that_the_mean_does_not_suit_counts_what_are_no_pixels(pixels: NDArray[np.uint8]) -> None:
    view = view_of(pixels.astype(np.float32).transpose(2, 0, 1)[None], facts("bgr"))
    undone = pixels.astype(np.float64) * DEVIATION + MEAN
    assert view.outside == pytest.approx((undone > 256).mean())


@pytest.mark.parametrize(
    ("scale", "offset", "name"),
    [(1 / 255, 0.0, "unit"), (2 / 255, -1.0, "signed"), (1.0, 0.0, "pixels"), (0.1, -10.0, "stretched")],
)
def test_without_a_mean_the_values_tell_the_scale(
    pixels: NDArray[np.uint8], scale: float, offset: float, name: str
) -> None:
    pixels[0, 0], pixels[0, 1] = 0, 255
    fed = (pixels[..., ::-1].astype(np.float32) * scale + offset).astype(np.float32)
    view = view_of(fed.transpose(2, 0, 1)[None])
    assert view.scale == name
    assert np.abs(decoded(view).astype(int) - pixels).max() <= 1


def test_large_pictures_become_small_ones() -> None:
    view = view_of(np.ones((1, 1, 300, 600), np.float32))
    assert decoded(view).shape == (64, 128, 3)


def test_a_waveform_keeps_its_extremes() -> None:
    sound = np.sin(np.arange(5000, dtype=np.float32))[None]
    view = view_of(sound)
    assert view.kind == "waveform"
    assert min(low for low, _ in view.wave) == pytest.approx(float(sound.min()))
    assert max(high for _, high in view.wave) == pytest.approx(float(sound.max()))
    assert len(view.wave) <= 240


def test_tokens_are_counted() -> None:
    view = view_of(np.array([[7, 8, 8, 9, 0, 0]], np.int64))
    assert (view.kind, view.count, view.distinct, view.zeros) == ("tokens", 6, 4, 2)


def test_other_values_are_described() -> None:
    view = view_of(np.arange(12, dtype=np.float32).reshape(3, 4))
    assert (view.kind, view.count, view.low, view.high) == ("values", 12, 0.0, 11.0)


def test_answers_are_the_largest_values_the_first_of_equal_ones_before() -> None:
    expected = np.array([[1.0, 5.0, 3.0, 5.0]], np.float32)
    found = np.array([[1.0, 4.0, 3.0, 6.0]], np.float32)
    (sample,) = sample_views([{"x": np.zeros((1, 2), np.int64)}], [{"y": (expected, found)}], [])
    (answer,) = sample.answers
    assert answer.top == ((1, 5.0), (3, 5.0), (2, 3.0))
    assert answer.quantized == 3


def test_at_most_eight_samples_are_shown() -> None:
    samples = [{"x": np.zeros((1, 4), np.int64)}] * 12
    assert len(sample_views(samples, [{}] * 12, [])) == 8
