"""Samples for the comparison are samples that calibration does not use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.calibration.test_data import listing, parameters, rows, spec
from xslim.calibration.data import CalibrationData
from xslim.calibration.repeats import are_equal
from xslim.calibration.unseen import divide
from xslim.calibration.whiteness import looks_like_noise

READ_BY_NAME = """
import numpy as np

def read(paths, _parameters):
    return np.concatenate([np.full((1, 3), int(str(path).split("/x")[-1][:-4]), "f") for path in paths])
"""


def numbers(batches: list[dict[str, np.ndarray]]) -> list[int]:
    return [int(row[0]) for batch in batches for row in batch["x"].reshape(-1, 3)]


def divided(
    folder: Path, count: int, step: int, shape: tuple[int | None, ...] = (None, 3)
) -> tuple[list[int], list[int]]:
    entry = listing(folder, "x", rows(count, 1, 3))
    parts = divide(CalibrationData([spec(shape=shape)], parameters(entry, calibration_step=step)))
    return numbers(list(parts.seen.samples())), numbers(parts.unseen)


@pytest.mark.parametrize(
    ("count", "step", "held"),
    [(15, 100, 0), (16, 100, 2), (64, 64, 8), (100, 100, 8), (7, 5, 2), (40, 20, 8), (21, 20, 1)],
)
def test_every_sample_is_seen_or_unseen(tmp_path: Path, count: int, step: int, held: int) -> None:
    seen, unseen = divided(tmp_path, count, step)
    assert len(unseen) == held
    assert not set(seen) & set(unseen)
    if count <= step:
        assert sorted([*seen, *unseen]) == list(range(count))
    else:
        assert seen == list(range(step))
        assert min(unseen) >= step


@pytest.mark.parametrize(
    ("count", "step", "held"), [(40, 20, 20), (200, 100, 32), (100, 100, 25), (15, 100, 0)]
)
def test_more_samples_are_compared_where_the_configuration_asks(
    tmp_path: Path, count: int, step: int, held: int
) -> None:
    given = parameters(
        listing(tmp_path, "x", rows(count, 1, 3)), calibration_step=step, comparison_samples=32
    )
    parts = divide(CalibrationData([spec()], given), given.comparison_samples)
    assert len(parts.unseen) == held
    assert not set(numbers(list(parts.seen.samples()))) & set(numbers(parts.unseen))


def test_copies_come_last_and_never_meet_the_comparison(tmp_path: Path) -> None:
    arrays = rows(20, 1, 3)
    entry = listing(tmp_path, "x", [*arrays[:12], *arrays, *arrays[4:8]])
    parts = divide(CalibrationData([spec()], parameters(entry, calibration_step=100)))
    seen, unseen = numbers(list(parts.seen.samples())), numbers(parts.unseen)
    distinct = numbers(list(parts.distinct.samples()))
    assert len(unseen) == 2
    assert sorted([*distinct, *unseen]) == list(range(20))
    assert seen[: len(distinct)] == distinct
    assert set(seen) == set(distinct)
    assert parts.copies == 16


def test_a_copy_behind_the_step_is_not_unseen(tmp_path: Path) -> None:
    arrays = rows(5, 1, 3)
    entry = listing(tmp_path, "x", [*arrays[:4], *arrays, arrays[4]])
    parts = divide(CalibrationData([spec()], parameters(entry, calibration_step=4)))
    assert numbers(parts.unseen) == [4]
    assert (len(parts.seen), parts.copies) == (4, 0)


def test_too_few_distinct_samples_for_a_batch_are_divided_by_number(tmp_path: Path) -> None:
    entry = listing(tmp_path, "x", rows(2, 1, 3) * 32)
    parts = divide(CalibrationData([spec(shape=(4, 3))], parameters(entry)))
    assert (len(parts.unseen), parts.distinct, parts.copies) == (2, parts.seen, 0)


def test_a_function_may_read_equal_files_differently(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(READ_BY_NAME)
    entry = listing(tmp_path, "x", rows(1, 1, 3) * 20) | {"preprocess_file": f"{tmp_path}/own.py:read"}
    parts = divide(CalibrationData([spec()], parameters(entry)))
    assert (len(parts.unseen), len(parts.seen), parts.copies) == (2, 18, 0)


def test_a_fixed_batch_stays_whole(tmp_path: Path) -> None:
    seen, unseen = divided(tmp_path, 64, 100, (4, 3))
    assert len(unseen) == 8
    assert len(seen) == 56
    assert all(unseen[start] % 4 == 0 for start in range(0, 8, 4))
    assert unseen[:4] == list(range(unseen[0], unseen[0] + 4))


def test_a_list_of_one_file_is_used_for_all(tmp_path: Path) -> None:
    many, one = listing(tmp_path, "x", rows(20, 1, 3)), listing(tmp_path, "s", rows(1, 1, 3))
    data = CalibrationData([spec("x"), spec("s")], parameters(many, one))
    parts = divide(data)
    assert len(parts.unseen) == 2
    assert all(set(feeds) == {"x", "s"} for feeds in parts.unseen)
    assert len(parts.seen) == 18


def test_a_file_behind_the_step_that_cannot_be_used_is_left_out(tmp_path: Path) -> None:
    entry = listing(tmp_path, "x", rows(6, 1, 3))
    (tmp_path / "x5.npy").unlink()
    (tmp_path / "x4.npy").write_bytes(b"no array")
    parts = divide(CalibrationData([spec()], parameters(entry, calibration_step=4)))
    assert len(parts.seen) == 4
    assert parts.unseen == []


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (1, 8000), (1, 1, 128, 64)])
@pytest.mark.parametrize("draw", ["standard_normal", "random"])
def test_white_noise_is_recognised(shape: tuple[int, ...], draw: str) -> None:
    samples = [
        {"x": getattr(np.random.default_rng(seed), draw)(shape).astype(np.float32)} for seed in range(4)
    ]
    assert looks_like_noise(samples, "x")


def smooth(shape: tuple[int, ...]) -> np.ndarray:
    noise = np.random.default_rng(0).standard_normal(shape)
    return (noise + np.roll(noise, 1, -1)).astype(np.float32)


@pytest.mark.parametrize(
    "array",
    [
        smooth((1, 3, 32, 32)),
        smooth((1, 8000)),
        np.random.default_rng(0).integers(0, 30000, (1, 64, 64)),
        np.random.default_rng(0).standard_normal((1, 1536)).astype(np.float32),
        np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32),
        np.zeros((1, 3, 32, 32), np.float32),
        np.random.default_rng(0).integers(0, 2, (1, 64, 64)).astype(np.float32),
    ],
    ids=["picture", "sound", "tokens", "embedding", "small", "zeros", "mask"],
)
def test_other_inputs_are_no_noise(array: np.ndarray) -> None:
    assert not looks_like_noise([{"x": array}], "x")


def test_one_real_sample_is_enough() -> None:
    noise = np.random.default_rng(0).standard_normal((1, 3, 32, 32)).astype(np.float32)
    assert not looks_like_noise([{"x": noise}, {"x": smooth((1, 3, 32, 32))}], "x")
    assert not looks_like_noise([], "x")


def test_samples_repeat_only_if_all_inputs_do() -> None:
    one, two = smooth((1, 4)), 2 * smooth((1, 4))
    same = [{"x": one, "c": two}, {"x": one.copy(), "c": two.copy()}]
    assert are_equal(same)
    assert not are_equal([*same, {"x": one, "c": one}])
    assert not are_equal(same[:1])
    assert not are_equal([{"x": one}, {"x": smooth((1, 5))}])
    assert not are_equal([])
