"""Numbers computed from sketches equal those computed from the values, within the sketch's precision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xslim.analysis.measures import chosen_of, energy_of, histogram_of, range_of
from xslim.graph.scheme import QuantParams
from xslim.kernels import Sketch

values_of = st.tuples(st.integers(0, 10_000), st.floats(1e-3, 1e3), st.booleans())


def draw(parameters: tuple[int, float, bool]) -> np.ndarray:
    seed, scale, one_sided = parameters
    values = np.random.default_rng(seed).standard_normal(4000).astype(np.float32) * np.float32(scale)
    return np.abs(values) if one_sided else values


def sketch_of(values: np.ndarray) -> Sketch:
    sketch = Sketch()
    sketch.observe(values)
    return sketch


@given(values_of)
def test_energy(parameters: tuple[int, float, bool]) -> None:
    values = draw(parameters)
    assert energy_of(sketch_of(values)) == pytest.approx((values.astype(np.float64) ** 2).sum(), rel=0.02)


def test_an_outlier_does_not_blur_the_energy_of_the_body() -> None:
    values = np.append(np.full(1_000_000, 0.01, np.float32), np.float32(10))
    assert energy_of(sketch_of(values)) == pytest.approx((values.astype(np.float64) ** 2).sum(), rel=0.1)


@given(values_of, st.floats(0.2, 3), st.integers(-128, 127))
def test_clipping(parameters: tuple[int, float, bool], width: float, zero_point: int) -> None:
    values = draw(parameters)
    scale = np.float32(width * parameters[1] / 128)
    params = QuantParams(np.asarray(scale), np.asarray(zero_point, np.int8))
    low, high = (-128 - zero_point) * scale, (127 - zero_point) * scale
    outside = (values < low - scale / 2) | (values > high + scale / 2)
    noise = ((values - np.clip(values, low, high))[outside].astype(np.float64) ** 2).sum()
    chosen = chosen_of(params, sketch_of(values))
    assert (chosen.low, chosen.high) == pytest.approx((low, high))
    assert chosen.clipped == pytest.approx(outside.mean(), abs=2e-3)
    energy = (values.astype(np.float64) ** 2).sum()
    assert chosen.clip_noise == pytest.approx(noise / energy, rel=0.1, abs=1e-3)


@given(values_of)
def test_histogram_counts_every_value(parameters: tuple[int, float, bool]) -> None:
    values = draw(parameters)
    counts = histogram_of(sketch_of(values))
    assert len(counts) == 32
    assert sum(counts) == values.size
    assert range_of(sketch_of(values)) == (values.min(), values.max())


def test_one_value_and_none() -> None:
    assert histogram_of(sketch_of(np.full(5, 2, np.float32)))[:2] == (5, 0)
    assert range_of(Sketch()) == (0.0, 0.0)
    params = QuantParams(np.asarray(1, np.float32), np.asarray(0, np.int8))
    assert chosen_of(params, Sketch()).clipped == 0
