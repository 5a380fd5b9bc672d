"""Ranges per channel against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xslim.kernels import DtypeError, ShapeError, channel_ranges


@given(
    layout=st.tuples(*[st.integers(1, 5)] * 2, st.integers(1, 40), st.sampled_from([1, 3, 8, 16, 33])),
    dtype=st.sampled_from([np.float16, np.float32, np.float64]),
    seed=st.integers(0, 2**32 - 1),
    nan=st.booleans(),
)
def test_the_extremes_are_those_of_numpy(
    layout: tuple[int, int, int, int], dtype: type[Any], seed: int, nan: bool
) -> None:
    x = np.random.default_rng(seed).standard_normal(layout).astype(dtype)
    if nan:
        x.flat[seed % x.size] = np.nan
    low, high = channel_ranges(x, layout)
    assert np.array_equal(low, x.min(axis=(0, 2)).ravel().astype(np.float32), equal_nan=True)
    assert np.array_equal(high, x.max(axis=(0, 2)).ravel().astype(np.float32), equal_nan=True)


def test_wrong_layouts_and_types_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"6 values do not fit the layout \(1, 2, 2, 1\)"):
        channel_ranges(np.zeros(6, np.float32), (1, 2, 2, 1))
    with pytest.raises(ShapeError):
        channel_ranges(np.zeros(0, np.float32), (0, 2, 2, 1))
    with pytest.raises(DtypeError):
        channel_ranges(np.zeros(6, np.int32), (1, 2, 3, 1))
