"""Where no bar can be shown, progress is a plain line every ten seconds."""

from __future__ import annotations

import time

import pytest

from xslim.pipeline.progress import shown_progress
from xslim.progress import timed, tracked


def test_a_line_every_ten_seconds(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    caplog.set_level("INFO", "xslim")
    with shown_progress():
        for _ in tracked(range(10), "calibrating", 10):
            now += 4.0
    assert caplog.messages == ["calibrating: 3/10", "calibrating: 6/10", "calibrating: 9/10"]


def test_nothing_when_quiet(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    caplog.set_level("WARNING", "xslim")
    with shown_progress():
        for _ in tracked(range(5), "calibrating", 5):
            now += 60.0
    assert not caplog.messages


def test_a_phase_says_its_seconds_and_cores(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wall, cpu = 0.0, 0.0
    monkeypatch.setattr(time, "monotonic", lambda: wall)
    monkeypatch.setattr(time, "process_time", lambda: cpu)
    caplog.set_level("DEBUG", "xslim")
    for phase, seconds in (("short", 0.05), ("long", 4.0)):
        with timed(phase):
            wall, cpu = wall + seconds, cpu + 1.5 * seconds
    assert caplog.messages == ["long: 4.0 s, 1.5 cores"]
