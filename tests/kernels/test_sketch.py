"""The sketch equals numpy's counts and depends only on the multiset of values."""

from __future__ import annotations

import pickle
from threading import Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from xslim import kernels
from xslim.kernels import Sketch

SHAPES = hnp.array_shapes(max_dims=4, max_side=9)
ARRAYS = st.sampled_from([np.float16, np.float32, np.float64]).flatmap(
    lambda dtype: hnp.arrays(dtype, SHAPES)
)


def sketch_of(*arrays: NDArray[np.generic]) -> Sketch:
    sketch = Sketch()
    for array in arrays:
        sketch.observe(array)
    return sketch


@given(ARRAYS)
def test_scalars_are_those_of_numpy(array: NDArray[np.floating]) -> None:
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    sketch = sketch_of(array)
    finite = values[np.isfinite(values)]
    assert sketch.count == finite.size
    assert sketch.is_empty == (finite.size == 0)
    assert sketch.nan_count == np.isnan(values).sum()
    assert sketch.pos_inf_count == np.isposinf(values).sum()
    assert sketch.neg_inf_count == np.isneginf(values).sum()
    assert sketch.zero_count == (np.abs(finite) < np.finfo(np.float32).tiny).sum()
    if finite.size:
        assert (sketch.min, sketch.max) == (finite.min(), finite.max())
    else:
        assert np.isnan(sketch.min)
        assert np.isnan(sketch.max)
        assert np.isnan(sketch.percentile(0.5))


@given(ARRAYS, st.randoms(use_true_random=False), st.integers(1, 5))
def test_order_and_split_do_not_matter(array: NDArray[np.floating], random: object, parts: int) -> None:
    whole = sketch_of(array)
    shuffled = np.random.default_rng(random.randrange(2**32)).permutation(array.ravel())  # type: ignore[attr-defined]
    pieces = [sketch_of(piece) for piece in np.array_split(shuffled, parts)]
    merged = Sketch()
    for piece in reversed(pieces):
        merged.merge(piece)
    assert merged == whole
    assert merged.to_bytes() == whole.to_bytes()
    assert sketch_of(*np.array_split(shuffled, parts)) == whole


@given(ARRAYS)
def test_bytes_copy_and_pickle_keep_everything(array: NDArray[np.floating]) -> None:
    sketch = sketch_of(array)
    assert Sketch.from_bytes(sketch.to_bytes()) == sketch
    assert pickle.loads(pickle.dumps(sketch)) == sketch
    copied = sketch.copy()
    copied.observe(np.ones(1, np.float32))
    assert copied.count == sketch.count + 1


def test_unequal_sketches_differ() -> None:
    sketch = sketch_of(np.float32([1, 2]))
    assert sketch != sketch_of(np.float32([1, 3]))
    assert sketch != sketch_of(np.float32([1, 2, np.nan]))
    assert sketch != "sketch"


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x01\x00", b"\xff" * 40, b"\x01" + b"\xff" * 60])
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="sketch"):
        Sketch.from_bytes(data)


@given(hnp.arrays(np.float32, st.integers(1, 500), elements=st.floats(-100, 100, width=32)), st.floats(0, 1))
def test_percentiles_lie_within_a_bin_of_the_order_statistics(values: NDArray[np.float32], q: float) -> None:
    found = sketch_of(values).percentile(q)
    low, high = (float(np.quantile(values, q, method=m)) for m in ("inverted_cdf", "higher"))
    assert min(low, high) - abs(low) / 512 - 1e-30 <= found <= max(low, high) + abs(high) / 512 + 1e-30


def test_percentile_outside_is_refused() -> None:
    with pytest.raises(ValueError, match="within 0 and 1"):
        sketch_of(np.ones(3)).percentile(99.99)


def test_histogram_follows_numpy() -> None:
    values = np.random.default_rng(1).normal(size=200_000).astype(np.float32)
    counts = sketch_of(values).histogram(64, -4, 4)
    expected, _ = np.histogram(values, 64, (-4, 4))
    assert counts.dtype == np.uint64
    # Only values within the sketch's bin at an edge may move, a hundredth of a report's bin.
    assert np.abs(counts.astype(np.int64) - expected).max() < 0.05 * expected.max()
    assert abs(int(counts.sum()) - int(expected.sum())) <= 4
    with pytest.raises(ValueError, match="bins"):
        sketch_of(values).histogram(0, -4, 4)


def test_an_outlier_leaves_the_body_resolved() -> None:
    body = np.random.default_rng(2).normal(size=100_000).astype(np.float32)
    mixed = sketch_of(body, np.float32([1000 * np.abs(body).max()]))
    for q in (0.01, 0.25, 0.75, 0.99):
        assert mixed.percentile(q) == pytest.approx(float(np.quantile(body, q)), abs=8 / 256)


def test_many_at_once_equal_one_by_one() -> None:
    generator = np.random.default_rng(3)
    arrays = [generator.normal(size=size).astype(np.float32) for size in (10, 300_000, 0, 1_200_000)]
    for threads in (1, 2):
        kernels.set_threads(threads)
        sketches = [Sketch() for _ in arrays]
        kernels.observe_many(sketches, arrays)
        assert sketches == [sketch_of(array) for array in arrays]
    alone = [Sketch() for _ in arrays]
    kernels.observe_many(alone, arrays, parallel=False)
    assert alone == [sketch_of(array) for array in arrays]
    twice = Sketch()
    kernels.observe_many([twice, twice], arrays[:2])
    assert twice == sketch_of(arrays[0], arrays[1])
    with pytest.raises(ValueError, match="2 sketches and 1 arrays"):
        kernels.observe_many([Sketch(), Sketch()], arrays[:1])


def test_threads_may_share_a_sketch() -> None:
    arrays = [np.random.default_rng(seed).normal(size=50_000).astype(np.float32) for seed in range(8)]
    shared = Sketch()
    workers = [Thread(target=shared.observe, args=(array,)) for array in arrays]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert shared == sketch_of(*arrays)
    shared.merge(shared)
    assert shared.count == 2 * 8 * 50_000


def test_the_number_of_threads() -> None:
    kernels.set_threads(3)
    assert kernels.threads() == 3
    with pytest.raises(ValueError, match="positive"):
        kernels.set_threads(0)
    kernels.set_threads(2)
