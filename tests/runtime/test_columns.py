"""Columns that are lost beside columns of far larger values are found, and others are not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from xslim.runtime import ColumnErrors, LostColumns

Array = NDArray[np.float32]


def boxes_and_scores(seed: int, shape: tuple[int, ...] = (1, 400, 9)) -> Array:
    """Four columns of 0 to 640 beside scores of 0 to 1 along the last axis."""
    generator = np.random.default_rng(seed)
    array = generator.uniform(0, 1, shape).astype(np.float32)
    array[..., :4] *= 640
    return array


def rounded(array: Array, step: float) -> Array:
    return (np.round(array / step) * step).astype(np.float32)


def lost(reference: list[Array], found: list[Array]) -> LostColumns | None:
    columns = ColumnErrors()
    for expected, other in zip(reference, found, strict=True):
        columns.add(expected, other)
    return columns.lost()


def test_scores_that_share_the_scale_of_boxes_are_lost() -> None:
    samples = [boxes_and_scores(seed) for seed in range(3)]
    found = lost(samples, [rounded(sample, 2.5) for sample in samples])
    assert found is not None
    assert (found.axis, found.columns, found.words) == (2, (4, 5, 6, 7, 8), "4 to 8")
    signal = np.concatenate([sample[..., 4:].ravel() for sample in samples]).astype(np.float64)
    # All scores become zero, so the noise is their energy.
    assert found.sqnr_db == pytest.approx(
        10
        * np.log10(signal.reshape(-1, 5).var(axis=0).sum() / (signal.reshape(-1, 5) ** 2).mean(axis=0).sum()),
        abs=0.01,
    )
    assert found.whole_db > 40


@pytest.mark.parametrize("axes", [(0, 1, 2), (0, 2, 1)])
def test_the_axis_of_the_columns_is_found(axes: tuple[int, ...]) -> None:
    samples = [boxes_and_scores(seed).transpose(axes) for seed in range(3)]
    found = lost(samples, [rounded(sample, 2.5) for sample in samples])
    assert found is not None
    assert found.axis == axes.index(2)


def test_scores_with_a_scale_of_their_own_are_not_lost() -> None:
    samples = [boxes_and_scores(seed) for seed in range(3)]
    others = [sample.copy() for sample in samples]
    for other in others:
        other[..., :4] = rounded(other[..., :4], 2.5)
        other[..., 4:] = rounded(other[..., 4:], 1 / 255)
    assert lost(samples, others) is None


def test_a_poor_output_and_few_values_are_left_to_others() -> None:
    samples = [boxes_and_scores(seed) for seed in range(3)]
    assert lost(samples, [np.zeros_like(sample) for sample in samples]) is None
    few = [boxes_and_scores(seed, (1, 9)) for seed in range(3)]
    assert lost(few, [rounded(sample, 2.5) for sample in few]) is None


def test_parts_give_what_the_whole_gives_and_other_shapes_nothing() -> None:
    samples = [boxes_and_scores(seed) for seed in range(4)]
    parts = [ColumnErrors(), ColumnErrors()]
    for number, sample in enumerate(samples):
        parts[number % 2].add(sample, rounded(sample, 2.5))
    parts[0].merge(parts[1])
    whole = lost(samples, [rounded(sample, 2.5) for sample in samples])
    merged = parts[0].lost()
    assert whole is not None
    assert merged is not None
    assert merged.sqnr_db == pytest.approx(whole.sqnr_db)
    parts[0].add(boxes_and_scores(0, (1, 400, 7)), boxes_and_scores(1, (1, 400, 7)))
    assert parts[0].lost() is None
