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


def weights_of(size_in: int, size_out: int, position: int) -> NDArray[np.int64]:
    """Weights of all input pixels for one output pixel: a triangle around its centre, 22 fractional bits."""
    scale = size_in / size_out
    reach = max(scale, 1.0)
    centre = (position + 0.5) * scale
    raw = [max(0.0, 1 - abs((pixel - centre + 0.5) / reach)) for pixel in range(size_in)]
    total = 0.0
    for weight in raw:
        total += weight
    return np.array([math.floor(weight / total * 2**22 + 0.5) for weight in raw], np.int64)


def filtered(lines: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Filter along the first axis and round to eight bits."""
    matrix = np.stack([weights_of(len(lines), size, position) for position in range(size)])
    sums = np.tensordot(matrix, lines, 1)
    return np.clip((sums + 2**21) >> 22, 0, 255)


def reference(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.int64]:
    """Filter along the rows, then along the columns."""
    narrow = filtered(image.astype(np.int64).swapaxes(0, 1), size[1]).swapaxes(0, 1)
    return filtered(narrow, size[0])


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 90), st.integers(1, 90), st.integers(1, 4))),
    st.tuples(st.integers(1, 70), st.integers(1, 70)),
)
def test_it_is_the_triangle_filter(image: NDArray[np.uint8], size: tuple[int, int]) -> None:
    result = resize_antialiased(image, size, (0, 0, *size))
    assert result.dtype == np.uint8
    assert np.array_equal(result, reference(image, size))


def test_a_hand_computed_case() -> None:
    # Four pixels to two: reach 2, centres 1 and 3; distances .5, .5 and 1.5 give weights .75, .75 and .25.
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
    assert np.array_equal(window, whole[7:67, 19:80])


@pytest.mark.parametrize("value", [0, 127, 255])
def test_a_flat_image_stays_flat(value: int) -> None:
    image = np.full((97, 301, 3), value, np.uint8)
    assert (resize_antialiased(image, (33, 77), (0, 0, 33, 77)) == value).all()
