"""The score, the gain and its deviation, compared with plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from xslim.refinement.outcome import MOST_DB, SATURATED_DB, Outcome

NOISES = arrays(np.float64, (8, 2), elements=st.floats(1e-6, 1.0))


def outcome(noise: np.ndarray, *most: float) -> Outcome:
    return Outcome(np.ones_like(noise), noise, np.array(most or [MOST_DB] * noise.shape[1]))


@given(NOISES)
def test_the_score_is_the_mean_of_the_ratios_of_the_tensors(noise: np.ndarray) -> None:
    expected = np.mean([10 * np.log10(8 / noise[:, column].sum()) for column in (0, 1)])
    assert outcome(noise).score == pytest.approx(expected)
    typical = np.exp(np.log(noise).mean(axis=0))
    assert outcome(noise).worst == pytest.approx(-10 * np.log10(typical.max()))


@given(st.floats(0.01, 100))
def test_noise_that_changes_alike_on_all_samples_has_a_certain_gain(factor: float) -> None:
    noise = np.full((8, 2), 0.1)
    gain, db = outcome(noise).gain_of(outcome(noise / factor)), 10 * np.log10(factor)
    assert gain.db == pytest.approx(db, abs=0.5)
    assert gain.db <= db + 1e-9
    assert gain.deviation == pytest.approx(0.0, abs=1e-9)


@given(NOISES, NOISES)
def test_a_gain_and_its_reverse_have_one_deviation(before: np.ndarray, after: np.ndarray) -> None:
    there, back = outcome(before).gain_of(outcome(after)), outcome(after).gain_of(outcome(before))
    assert there.deviation == pytest.approx(back.deviation)
    assert there.db <= -back.db + 1e-9


def test_the_deviation_is_the_standard_error_of_the_mean() -> None:
    ratios = np.random.default_rng(3).normal(0.0, 0.5, (400, 1))
    gain = outcome(np.full((400, 1), 0.1)).gain_of(outcome(0.1 * 10.0**-ratios))
    assert gain.deviation == pytest.approx(0.9 * 10 * 0.5 / 20, rel=0.2)


def test_one_sample_with_a_large_gain_does_not_decide() -> None:
    before, after = np.full((8, 1), 0.001), np.full((8, 1), 0.0012)
    before[0], after[0] = 1.0, 0.01
    found = outcome(before).gain_of(outcome(after))
    assert found.deviation * 2 > found.db


def test_one_sample_that_collapses_counts() -> None:
    before, after = np.full((8, 1), 0.001), np.full((8, 1), 0.0005)
    after[0] = 1.0
    assert outcome(before).gain_of(outcome(after)).db < -10


def test_a_saturated_output_is_capped() -> None:
    noise = np.full((4, 2), 1e-15)
    assert outcome(noise, SATURATED_DB, MOST_DB).score == pytest.approx((60 + 150) / 2)


def test_no_tensor_and_no_signal() -> None:
    empty = np.zeros((3, 0))
    assert outcome(empty).score == MOST_DB
    assert outcome(empty).gain_of(outcome(empty)).db == 0.0
    silent = Outcome(np.zeros((3, 1)), np.zeros((3, 1)), np.array([MOST_DB]))
    assert silent.score == MOST_DB
    assert silent.gain_of(silent).db == 0.0
