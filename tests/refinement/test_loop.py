"""The loop of refinement: what it keeps, what it undoes and what it records, for any steps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import xslim.refinement
from tests.refinement.test_steps import config, uneven_model
from xslim.graph.gains import StepGain
from xslim.pipeline.static import quantize_static
from xslim.refinement import steps as module
from xslim.refinement.candidate import Candidate, Material, Scores
from xslim.refinement.effort import EFFORT, LEVELS
from xslim.refinement.judge import METRIC, Split
from xslim.refinement.outcome import MOST_DB, Outcome
from xslim.refinement.steps import STEPS, Stage, Step, refine

BEFORE, AFTER = Stage.BEFORE_CALIBRATION, Stage.AFTER_CALIBRATION
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class _Judge:
    """What the loop needs of a judge."""

    split: Split

    @property
    def can_judge(self) -> bool:
        return self.split.stride is not None


def material(level: int = 1, *, judged: bool = True) -> Material:
    nothing: Any = None
    judge: Any = _Judge(Split(4 if judged else None))
    return Material(nothing, nothing, nothing, nothing, nothing, EFFORT[level], judge)


def valued(value: float) -> Candidate:
    """A candidate whose score is its model."""
    model: Any = value
    plan: Any = None
    return Candidate(model, plan)


def value_of(candidate: Candidate, _: Material | None = None) -> float:
    value: Any = candidate.model
    return float(value)


def outcome(db: float, samples: int = 4) -> Outcome:
    """Equal noise on all samples."""
    ones = np.ones((samples, 1))
    return Outcome(ones, ones * 10.0 ** (-db / 10.0), np.array([MOST_DB]))


def judged_value(candidate: Candidate, _: Material | None = None) -> Outcome:
    return outcome(value_of(candidate))


def doubled(candidate: Candidate, _: Material | None = None) -> Outcome:
    return outcome(2 * value_of(candidate))


def step(name: str, change: float, *, own: bool = False, **fields: Any) -> Step:
    """A step that changes the score, and may say so itself."""

    def run(start: Candidate, _: Material) -> Candidate:
        if change == 0:
            return start
        before = value_of(start)
        changed = replace(start, model=valued(before + change).model)
        return (
            replace(changed, measured=Scores(outcome(before), outcome(before + change), "own"))
            if own
            else changed
        )

    return Step(name, **{"levels": LEVELS, "run": run, "measure": judged_value, **fields})


STEP = st.builds(
    step,
    st.sampled_from("abc"),
    st.sampled_from([-2.0, 0.0, 0.125, 0.25, 2.0]),
    own=st.booleans(),
    measure=st.sampled_from([judged_value, doubled]),
    levels=st.sampled_from([LEVELS, LEVELS, (2, 3)]),
    least_gain_db=st.sampled_from([0.0, 0.25, None]),
    stage=st.sampled_from([AFTER, AFTER, BEFORE]),
    after=st.sampled_from([None, None, None, "a"]),
    without_judge=st.booleans(),
)


def expected(
    steps: Sequence[Step], level: int, stage: Stage, *, judged: bool
) -> tuple[float, list[StepGain]]:
    """The rules of the loop, written down a second time."""
    value, gains = 1.0, []
    for item in steps:
        runs = item.stage is stage and level in item.levels and (judged or item.without_judge)
        found = item.run(valued(value), material()) if runs else valued(value)
        kept_names = [gain.step.split(" (")[0] for gain in gains if gain.kept]
        if value_of(found) == value or (item.after is not None and item.after not in kept_names):
            continue
        if not judged or item.least_gain_db is None:
            value = value_of(found)
            continue
        name, scores = f"{item.name} (own)", found.measured
        if scores is None:
            name = item.name
            scores = Scores(item.measure(valued(value), material()), item.measure(found, material()), "")
        before, after = scores.before.score, scores.after.score
        gain = scores.before.gain_of(scores.after)
        assert gain.db <= after - before + 1e-9
        kept = gain.db >= item.least_gain_db
        gains.append(StepGain(name, METRIC, before, after, kept, gain.db, gain.deviation))
        value = value_of(found) if kept else value
    return value, gains


@given(
    st.lists(STEP, min_size=1, max_size=12),
    st.sampled_from(LEVELS),
    st.sampled_from([AFTER, BEFORE]),
    st.sampled_from([True, True, False]),
)
def test_a_step_is_kept_where_it_gains_and_recorded_where_it_is_judged(
    steps: list[Step], level: int, stage: Stage, judged: bool
) -> None:
    result = refine(valued(1.0), material(level, judged=judged), stage, steps)
    value, gains = expected(steps, level, stage, judged=judged)
    assert value_of(result) == value
    assert list(result.gains) == gains


def test_a_candidate_is_scored_once() -> None:
    """A score costs a run of all samples that judge: one for the start and one for each change."""
    scored: list[float] = []

    def measure(candidate: Candidate, _: Material) -> Outcome:
        scored.append(value_of(candidate))
        return outcome(scored[-1])

    changes = [1.0, -1.0, 0.5, -3.0]
    steps = [step(str(change), change, measure=measure) for change in changes]
    refine(valued(0.0), material(), AFTER, steps)
    assert scored == [0.0, 1.0, 0.0, 1.5, -1.5]


def spread(db: float, samples: int = 4) -> Outcome:
    """A score of `db` on average, but of very different errors."""
    even = outcome(db, samples)
    return replace(even, noise=even.noise * np.array([[1e-3], [1e-3], [1e-3], [4.0]]))


@pytest.mark.parametrize(("second", "kept"), [(3.0, True), (-3.0, False)])
def test_a_gain_in_doubt_is_judged_once_more_on_other_samples(
    second: float, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = material()
    monkeypatch.setattr(Material, "reserve", _Judge(Split(4, (1,))))

    def measure(candidate: Candidate, given: Material) -> Outcome:
        value = value_of(candidate)
        if given.judge is not start.judge:
            return outcome(20.0 + second * value)
        return spread(21.0) if value else outcome(20.0)

    fit = step("fit", 1.0, measure=measure, certainty=1.0, spares_reserve=True)
    changed = refine(valued(0.0), start, AFTER, [fit])
    [gain] = changed.gains
    assert (gain.kept, gain.gain) == (kept, outcome(20.0).gain_of(outcome(20.0 + second)).db)
    assert value_of(changed) == float(kept)


def test_a_step_fitted_to_the_reserve_is_not_judged_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Material, "reserve", _Judge(Split(4, (1,))))

    def measure(candidate: Candidate, given: Material) -> Outcome:
        assert given.judge.split.offsets == (-1,)
        return spread(21.0) if value_of(candidate) else outcome(20.0)

    changed = refine(valued(0.0), material(), AFTER, [step("fit", 1.0, measure=measure, certainty=1.0)])
    assert value_of(changed) == 0.0


def test_a_loss_is_not_judged_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Material, "reserve", None)
    expected = refine(valued(9.0), material(), AFTER, [step("loss", -3.0), step("small", 0.125)])
    monkeypatch.setattr(Material, "reserve", _Judge(Split(4, (1,))))

    def measure(candidate: Candidate, given: Material) -> Outcome:
        assert given.judge.split.offsets == (-1,)
        return judged_value(candidate)

    steps = [
        step("loss", -3.0, measure=measure, spares_reserve=True),
        step("small", 0.125, measure=measure, spares_reserve=True),
    ]
    assert refine(valued(9.0), material(), AFTER, steps).gains == expected.gains


def test_a_new_step_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def worse(start: Candidate, _: Material) -> Candidate:
        halved = {
            name: replace(params, scale=params.scale / 2)
            for name, params in start.quantization.activations.items()
        }
        return replace(start, quantization=replace(start.quantization, activations=halved))

    settings = config(tmp_path, finetune_level=1)
    usual = quantize_static(uneven_model(), settings, tmp_path / "store")
    monkeypatch.setattr(module, "STEPS", (*STEPS, Step("ranges halved", LEVELS, worse)))
    judged = quantize_static(uneven_model(), settings, tmp_path / "store")
    assert judged.gains[:-1] == usual.gains
    assert judged.gains[-1].step == "ranges halved"
    assert not judged.gains[-1].kept
    assert judged.quantization.activations == usual.quantization.activations


def test_steps_wait_only_for_earlier_ones() -> None:
    for number, item in enumerate(STEPS):
        assert item.after is None or item.after in {earlier.name for earlier in STEPS[:number]}
        assert set(item.levels) <= set(LEVELS)


def test_every_file_of_a_step_is_in_the_tuple() -> None:
    """A file that no line of `STEPS` names would never run."""
    folder = Path(xslim.refinement.__file__).parent
    shared = {"__init__", "candidate", "effort", "judge", "steps", "activation_trials", "noise", "outcome"}
    shared |= {"folds", "remainders"}
    assert {path.stem for path in folder.glob("*.py")} - shared == set(map(_file, STEPS))


def test_the_documented_steps_exist_in_their_order() -> None:
    page = (ROOT / "docs/architecture.md").read_text("utf-8").split("## Refinement")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ([^|,]+)[^|]*\| `(\w+)` \|", page, flags=re.M)
    found = iter([(item.name, _file(item)) for item in STEPS])
    assert len(rows) > 5
    assert all((name.strip(), file) in found for name, file in rows)


def test_a_higher_level_spends_no_less() -> None:
    for lower, higher in pairwise(LEVELS):
        less, more = vars(EFFORT[lower]), vars(EFFORT[higher])
        assert all(_size(less[name]) <= _size(more[name]) for name in less)


def _file(item: Step) -> str:
    run: Any = item.run
    return str(getattr(run, "func", run).__module__).rpartition(".")[2]


def _size(amount: Any) -> float:
    return len(amount) if isinstance(amount, tuple) else amount
