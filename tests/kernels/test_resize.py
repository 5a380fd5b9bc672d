"""The antialiased resize, against the definition of the filter written out pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from xslim.kernels import resize_antialiased


def weights_of(size_in: int, size_out: int, position: int) -> list[float]:
    """Weights of all input pixels for one output pixel: a triangle around its centre."""
    scale = size_in / size_out
    reach = max(scale, 1.0)
    centre = (position + 0.5) * scale
    raw = [max(0.0, 1 - abs(pixel + 0.5 - centre) / reach) for pixel in range(size_in)]
    return [weight / sum(raw) for weight in raw]


def reference(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float64]:
    """Filter rows, round, filter columns, round; shape (height, width, channels)."""
    rows, columns, channels = image.shape
    narrow = np.zeros((channels, rows, size[1]))
    for x in range(size[1]):
        for pixel, weight in enumerate(weights_of(columns, size[1], x)):
            narrow[:, :, x] += weight * image[:, pixel].T
    narrow = np.floor(narrow + 0.5)
    result = np.zeros((channels, *size))
    for y in range(size[0]):
        for pixel, weight in enumerate(weights_of(rows, size[0], y)):
            result[:, y] += weight * narrow[:, pixel]
    return np.floor(result + 0.5).transpose(1, 2, 0)


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 90), st.integers(1, 90), st.sampled_from([1, 3, 4]))),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
)
def test_it_is_the_triangle_filter(image: NDArray[np.uint8], size: tuple[int, int]) -> None:
    result = resize_antialiased(image, size, (0, 0, *size))
    assert result.dtype == np.uint8
    # Sums in another order may fall on the other side of a half: one grey level, rarely.
    difference = np.abs(result.astype(float) - reference(image, size))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.05 or result.size < 100


def test_a_hand_computed_case() -> None:
    # Four pixels to two: reach 2, weights 3:3:... around centre 1: distances .5 .5 1.5 give .75 .75 .25.
    image = np.array([[10, 20, 40, 80]], np.uint8)[..., None]
    left = (0.75 * 10 + 0.75 * 20 + 0.25 * 40) / 1.75
    right = (0.25 * 20 + 0.75 * 40 + 0.75 * 80) / 1.75
    result = resize_antialiased(image, (1, 2), (0, 0, 1, 2))
    assert result.tolist() == [[[math.floor(left + 0.5)], [math.floor(right + 0.5)]]]


def test_the_same_size_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(0, 256, (70, 41, 3)).astype(np.uint8)
    result = resize_antialiased(image, (70, 41), (0, 0, 70, 41))
    assert np.array_equal(result, image)


def test_a_window_is_a_part_of_the_whole() -> None:
    image = np.random.default_rng(0).integers(0, 256, (150, 200, 3)).astype(np.uint8)
    whole = resize_antialiased(image, (100, 133), (0, 0, 100, 133))
    window = resize_antialiased(image, (100, 133), (7, 19, 60, 61))
    assert np.abs(window.astype(int) - whole[7:67, 19:80]).max() <= 1
    assert np.mean(window != whole[7:67, 19:80]) < 0.001


@pytest.mark.parametrize("value", [0, 127, 255])
def test_a_flat_image_stays_flat(value: int) -> None:
    image = np.full((97, 301, 3), value, np.uint8)
    assert (resize_antialiased(image, (33, 77), (0, 0, 33, 77)) == value).all()
