"""Gram matrices equal those of a numpy oracle that unfolds images, and rounding reduces the error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from xslim import kernels

Floats = NDArray[np.float32]


def unfold(
    x: Floats, kernel: tuple[int, int], stride: int, dilation: int, pad: int, output: tuple[int, int]
) -> Floats:
    """Every patch as a row, in the order of images and positions."""
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad + 9), (pad, pad + 9)))
    rows = []
    for image in padded:
        for y in range(output[0]):
            for x0 in range(output[1]):
                top, left = y * stride, x0 * stride
                patch = image[
                    :,
                    top : top + dilation * (kernel[0] - 1) + 1 : dilation,
                    left : left + dilation * (kernel[1] - 1) + 1 : dilation,
                ]
                rows.append(patch.reshape(-1))
    return np.stack(rows)


def moments(rows: NDArray[np.floating], blocks: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    parts = rows.astype(np.float64).reshape(len(rows), blocks, -1)
    return parts.mean(axis=0).reshape(-1), np.einsum("nbi,nbj->bij", parts, parts) / len(rows)


@given(
    images=st.integers(1, 3),
    channels=st.sampled_from([2, 4]),
    kernel=st.sampled_from([(1, 1), (3, 3), (2, 3)]),
    stride=st.integers(1, 2),
    dilation=st.integers(1, 2),
    pad=st.integers(0, 2),
    blocks=st.sampled_from([1, 2]),
    seed=st.integers(0, 99),
)
def test_patches_are_those_of_a_convolution(
    images: int,
    channels: int,
    kernel: tuple[int, int],
    stride: int,
    dilation: int,
    pad: int,
    blocks: int,
    seed: int,
) -> None:
    x = np.random.default_rng(seed).standard_normal((images, channels, 7, 6)).astype(np.float32)
    sizes = [
        (size + 2 * pad - dilation * (kernel[axis] - 1) - 1) // stride + 1 for axis, size in enumerate((7, 6))
    ]
    output = (sizes[0], sizes[1])
    rows = unfold(x, kernel, stride, dilation, pad, output)
    chosen = np.random.default_rng(seed).integers(0, len(rows), 11)
    gram = kernels.Gram(blocks, channels * kernel[0] * kernel[1] // blocks)
    gram.add_patches(x, chosen.tolist(), kernel, (stride, stride), (dilation, dilation), (pad, pad), output)
    mean, second = moments(rows[chosen], blocks)
    assert gram.count == 11
    np.testing.assert_allclose(gram.mean, mean, atol=1e-6)
    np.testing.assert_allclose(gram.second, second, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_add_up_over_several_calls(dtype: type[np.floating]) -> None:
    rows = np.random.default_rng(0).standard_normal((40, 300)).astype(dtype)
    gram = kernels.Gram(1, 300)
    gram.add_rows(rows[:25].reshape(5, 5, 300), list(range(25)))
    gram.add_rows(rows[25:], list(range(15)))
    mean, second = moments(rows, 1)
    np.testing.assert_allclose(gram.mean, mean, atol=1e-6)
    np.testing.assert_allclose(gram.second, second, atol=1e-5)


def test_threads_do_not_change_a_bit() -> None:
    rows = np.random.default_rng(0).standard_normal((200, 400)).astype(np.float32)
    weights = np.random.default_rng(1).standard_normal((20, 400)).astype(np.float32)
    before = kernels.threads()
    results = []
    try:
        for count in (1, 3):
            kernels.set_threads(count)
            gram = kernels.Gram(2, 200)
            gram.add_rows(rows, list(range(200)))
            results.append((gram.second.tobytes(), *kernels.round_weights(weights, gram)))
    finally:
        kernels.set_threads(before)
    assert results[0][0] == results[1][0]
    for first, second in zip(results[0][1:], results[1][1:], strict=True):
        assert np.asarray(first).tobytes() == np.asarray(second).tobytes()


def test_bad_input_is_refused() -> None:
    gram = kernels.Gram(1, 4)
    with pytest.raises(ValueError, match="no vector 2"):
        gram.add_rows(np.zeros((2, 4), np.float32), [2])
    with pytest.raises(ValueError, match="vectors of 4"):
        gram.add_rows(np.zeros((2, 3), np.float32), [0])
    with pytest.raises(ValueError, match="NaN"):
        gram.add_rows(np.full((2, 4), np.nan, np.float32), [0])
    with pytest.raises(ValueError, match="four dimensions"):
        gram.add_patches(np.zeros((2, 4), np.float32), [0], (1, 1), (1, 1), (1, 1), (0, 0), (1, 1))
    with pytest.raises(ValueError, match="some vectors"):
        kernels.round_weights(np.zeros((2, 4), np.float32), kernels.Gram(1, 4))


def correlated(seed: int, rows: int, columns: int) -> Floats:
    """Vectors of which a few directions hold most of the energy, as layer inputs have it."""
    random = np.random.default_rng(seed)
    mixing = random.standard_normal((6, columns))
    x = random.standard_normal((rows, 6)) @ mixing + 0.2 * random.standard_normal((rows, columns))
    return np.maximum(x, 0).astype(np.float32)


def output_variance(x: Floats, error: NDArray[np.floating]) -> float:
    return float((x.astype(np.float64) @ error.T.astype(np.float64)).var(axis=0).sum())


@pytest.mark.parametrize("bits", [4, 6, 8])
@pytest.mark.parametrize("groups", [1, 2])
def test_outputs_are_closer_than_with_rounding_to_nearest(bits: int, groups: int) -> None:
    x, fresh = correlated(0, 800, 64), correlated(0, 1600, 64)[800:]
    weights = np.random.default_rng(2).standard_normal((24, 64 // groups)).astype(np.float32)
    gram = kernels.Gram(groups, 64 // groups)
    gram.add_rows(x, list(range(len(x))))
    values, scales, losses = kernels.round_weights(weights, gram, groups=groups, bits=bits)
    nearest, plain = kernels.quantize_per_channel(weights, 0, bits=bits)
    largest = 2 ** (bits - 1) - 1
    assert np.abs(values).max() <= largest
    assert (scales > 0).all()
    found = expected = 0.0
    for group in range(groups):
        rows = slice(group * 24 // groups, (group + 1) * 24 // groups)
        columns = fresh[:, group * 64 // groups : (group + 1) * 64 // groups]
        found += output_variance(columns, values[rows] * scales[rows, None] - weights[rows])
        expected += output_variance(columns, nearest[rows] * plain[rows, None] - weights[rows])
    assert found < 0.5 * expected
    assert (losses >= 0).all()


def test_trying_more_scales_never_loses() -> None:
    gram = kernels.Gram(1, 64)
    gram.add_rows(correlated(0, 800, 64), list(range(800)))
    weights = np.random.default_rng(2).standard_normal((24, 64)).astype(np.float32)
    _, _, alone = kernels.round_weights(weights, gram, bits=4)
    _, _, tried = kernels.round_weights(weights, gram, bits=4, factors=[1.0, 0.9, 0.8])
    assert (tried <= alone).all()
    assert (tried < alone).any()
