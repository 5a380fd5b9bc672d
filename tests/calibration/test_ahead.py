"""Tests of `map_ahead`: order of results, errors, limits, and the end of its threads."""

from __future__ import annotations

import threading
import time

import pytest

from xslim.calibration.ahead import map_ahead


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_keep_their_order(workers: int) -> None:
    def slow_when_even(number: int) -> int:
        time.sleep(0.002 * (number % 2 == 0))
        return number * number

    assert list(map_ahead(slow_when_even, range(20), workers)) == [number**2 for number in range(20)]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_at_its_place(workers: int) -> None:
    def fail_at_three(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    results = map_ahead(fail_at_three, range(10), workers)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_no_more_than_a_few_results_wait() -> None:
    begun: list[int] = []
    results = map_ahead(begun.append, range(100), workers=2)
    next(results)
    time.sleep(0.05)
    # One was taken, three may wait, and nothing beyond is handed out.
    assert len(begun) <= 4
    results.close()  # type: ignore[attr-defined]


def test_an_early_end_leaves_no_thread() -> None:
    results = map_ahead(lambda number: number, range(100), workers=2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("xslim-decode")]
