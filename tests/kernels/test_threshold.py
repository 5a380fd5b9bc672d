"""Scales and zero points are compared by errors measured on the data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from xslim import observers
from xslim.errors import InternalError
from xslim.kernels import Sketch, fake_quantize, range_params, search

GENERATOR = np.random.default_rng(0)
NORMAL = GENERATOR.normal(size=40_000).astype(np.float32)
TENSORS = {
    "normal": NORMAL,
    "relu": np.maximum(NORMAL, 0),
    "laplace": GENERATOR.laplace(size=40_000).astype(np.float32),
    "swish": (NORMAL / (1 + np.exp(-NORMAL))).astype(np.float32),
    "uniform": GENERATOR.random(40_000, np.float32) - 0.25,
}
METHODS = sorted(observers.METHODS)


def sketch_of(array: NDArray[np.floating]) -> Sketch:
    sketch = Sketch()
    sketch.observe(array)
    return sketch


def error(array: NDArray[np.float32], scale: float, zero_point: int, **limits: int) -> float:
    return float(((array - fake_quantize(array, scale, zero_point, **limits)).astype(np.float64) ** 2).sum())


@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("symmetric", [False, True])
def test_mse_finds_the_least_error_of_the_data(name: str, symmetric: bool) -> None:
    array = TENSORS[name]
    found = search(sketch_of(array), "mse", symmetric=symmetric)
    limits = {"qmin": -127} if symmetric else {}
    widest = float(np.ptp(np.append(array, 0))) / 255 * (2 if symmetric else 1)
    least = np.inf
    for scale in np.linspace(0.4, 1.02, 40) * widest:
        lowest = -128 - round(float(array.min()) / scale)
        zeros = [0] if symmetric else {int(np.clip(lowest + shift, -128, 127)) for shift in range(-48, 49, 8)}
        least = min(least, *(error(array, scale, zero, **limits) for zero in zeros))
    assert error(array, *found, **limits) <= 1.01 * least


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("symmetric", [False, True])
@given(array=hnp.arrays(np.float32, st.integers(0, 30)), bits=st.integers(2, 8))
def test_quantisers_are_always_valid(
    method: str, symmetric: bool, array: NDArray[np.float32], bits: int
) -> None:
    scale, zero_point = observers.search(sketch_of(array), method, bits=bits, symmetric=symmetric)
    assert scale == np.float32(scale)
    assert np.finfo(np.float32).tiny <= scale <= np.finfo(np.float32).max
    low = -(2 ** (bits - 1))
    assert low <= zero_point <= -low - 1
    assert not symmetric or zero_point == 0


def test_minmax_is_the_usual_formula() -> None:
    sketch = sketch_of(np.float32([-1.0, 0.2, 3.0]))
    scale, zero_point = search(sketch, "minmax")
    assert scale == np.float32(4 / 255)
    assert zero_point == round(-128 + 1 / (4 / 255))
    assert search(sketch, "minmax", symmetric=True) == (np.float32(3 / 127), 0)
    assert range_params(-1, 3) == (scale, zero_point)
    assert range_params(0, 1) == (np.float32(1 / 255), -128)
    assert range_params(2, 4) == (np.float32(4 / 255), -128)
    with pytest.raises(ValueError, match="finite range"):
        range_params(0, np.inf)


@pytest.mark.parametrize("method", METHODS)
def test_special_values_do_not_widen_a_range(method: str) -> None:
    special = np.append(NORMAL, np.float32([np.inf, -np.inf, np.nan]))
    assert observers.search(sketch_of(special), method) == observers.search(sketch_of(NORMAL), method)


def test_percentile_covers_the_fraction() -> None:
    scale, zero_point = search(sketch_of(NORMAL), "percentile", max_percentile=0.99)
    low, high = scale * (-128 - zero_point), scale * (127 - zero_point)
    assert np.mean((low <= NORMAL) & (high >= NORMAL)) == pytest.approx(0.99, abs=0.001)
    with pytest.raises(ValueError, match="percentile"):
        search(sketch_of(NORMAL), "percentile", max_percentile=99.0)


def test_kl_keeps_the_body_when_a_value_is_far_out() -> None:
    scale, _ = search(sketch_of(np.append(NORMAL, np.float32(4000))), "kl")
    assert scale < 0.1


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown method"):
        search(Sketch(), "entropy")
    with pytest.raises(InternalError, match="entropy"):
        observers.search(Sketch(), "entropy")
    with pytest.raises(ValueError, match="bits"):
        search(Sketch(), "mse", bits=16)
