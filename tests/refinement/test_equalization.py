"""The strength of equalisation is judged on other samples than those that give the ranges."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.refinement.test_steps import config, uneven_model
from xslim.calibration.grams import ChannelRanges
from xslim.graph.scheme import QuantPlan, TensorGroup
from xslim.pipeline.calibrate import start_static
from xslim.pipeline.static import quantize_static
from xslim.refinement.activation_trials import Rival, Trial
from xslim.refinement.folds import FoldedRanges


@pytest.mark.parametrize(("count", "step"), [(4, 1), (3, 2), (1, 1)])
def test_a_fold_has_no_part_in_the_ranges_that_judge_it(count: int, step: int) -> None:
    arrays = [np.random.default_rng(seed).standard_normal((1, 3, 5)).astype(np.float32) for seed in range(9)]
    folded = FoldedRanges({"t": 1}, count, step)
    for array in arrays:
        folded.update({"t": array})
    for fold in [None, *range(count)]:
        expected = ChannelRanges({"t": 1})
        for number, array in enumerate(arrays):
            if count == 1 or number * step % count != fold:
                expected.update({"t": array})
        found = folded.without(fold)
        np.testing.assert_array_equal(found.low["t"], expected.low["t"])
        np.testing.assert_array_equal(found.high["t"], expected.high["t"])


@pytest.mark.parametrize(
    ("fixed", "clamp", "tensors", "room", "expected"),
    [
        (None, None, ("a", "b"), 1.0, 1.4),
        (None, (0.0, float("inf")), ("b",), 1.15, 1.4),
        (None, (0.0, float("inf")), ("b",), 2.0, 2.0),
        (None, (0.0, 6.0), ("b",), 1.15, 1.0),
        ((0.0, 1.0), None, ("b",), 1.15, 1.0),
        (None, None, ("a",), 1.0, 1.0),
        (None, None, ("a",), 1.15, 1.15),
    ],
)
def test_ranges_without_a_bound_are_widened(
    fixed: tuple[float, float] | None,
    clamp: tuple[float, float] | None,
    tensors: tuple[str, ...],
    room: float,
    expected: float,
) -> None:
    group = TensorGroup(tensors, tensors, "minmax", 0.9999, fixed, clamp)
    scales = {"a": np.ones(3), "b": np.array([1.0, 2.0, 1.0])}
    plan = QuantPlan((), (), ())
    trial = Trial(uneven_model(), plan, scales, margin=1.4, room=room)
    assert trial.widening(group) == expected


@pytest.mark.parametrize("count", [1, 2, 5])
def test_very_few_samples_are_enough(tmp_path: Path, count: int) -> None:
    settings = config(tmp_path, count, finetune_level=1)
    result = quantize_static(uneven_model(), settings, tmp_path / "store")
    # One sample alone leaves none to judge a step by.
    assert any(gain.step.startswith("equalisation") for gain in result.gains) is (count > 1)


@pytest.mark.parametrize("count", [2, 5, 24])
def test_a_trial_without_quantisers_has_no_error_on_any_fold(tmp_path: Path, count: int) -> None:
    start = start_static(uneven_model(), config(tmp_path, count, finetune_level=1))
    assert start.material is not None
    nothing = replace(start.candidate.plan, groups=(), operators=())
    outcome = start.material.trials.judge(Trial(start.candidate.model, nothing, {}))
    # Each sample is compared with the outputs of the float model on the same sample.
    assert outcome.worst > 100
    assert len(outcome.signal) >= min(count, 2)


@pytest.mark.parametrize(("least_gain_db", "runs"), [(0.0, True), (1.0, False)])
def test_a_trial_that_certainly_gains_too_little_is_given_up(
    tmp_path: Path, least_gain_db: float, runs: bool
) -> None:
    start = start_static(uneven_model(), config(tmp_path, 24, finetune_level=1))
    assert start.material is not None
    trials, trial = start.material.trials, Trial(start.candidate.model, start.candidate.plan, {})
    outcome = trials.judge(trial)
    # Without equalised tensors a margin changes nothing, so the second trial gains exactly 0 dB.
    equal = replace(trial, margin=1.5)
    found = trials.judge_against([equal], outcome, Rival(outcome, least_gain_db))
    assert (found is not None) is runs
    assert found is None or found.score == outcome.score


def test_the_spread_of_channels_is_recorded_with_what_was_done(tmp_path: Path) -> None:
    result = quantize_static(uneven_model(), config(tmp_path, 24, finetune_level=1), tmp_path / "store")
    assert result.spreads
    for item in result.spreads:
        assert item.before >= 8
        assert item.after < item.before if item.done.startswith("scaled") else item.after == item.before
    kept = any(gain.kept for gain in result.gains if gain.step.startswith("equalisation"))
    assert any(item.done.startswith("scaled") for item in result.spreads) is kept
    plain = quantize_static(uneven_model(), config(tmp_path, 24, finetune_level=0), tmp_path / "other")
    assert not plain.spreads
