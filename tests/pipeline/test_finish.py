"""The end of a run stays short, however many outputs a model has."""

from __future__ import annotations

import logging

import pytest

from xslim.export.proof import OutputComparison
from xslim.pipeline.finish import MOST_OUTPUTS, log_comparison


def row(name: str, sqnr_db: float) -> OutputComparison:
    return OutputComparison(name, sqnr_db, 0.99, 0.1)


def test_the_worst_outputs_are_shown_in_the_order_of_the_model(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "xslim")
    log_comparison([row(f"out{number}", float((7 * number) % 20)) for number in range(20)], 6, unseen=True)
    message, warning = caplog.messages
    lines = message.splitlines()
    assert lines[0] == "compared with the float model on 6 samples that calibration has not seen:"
    assert [line.split()[0] for line in lines[2:-1]] == ["out0", "out3", "out6", "out9", "out12", "out15"]
    assert len(lines) == MOST_OUTPUTS + 3
    assert lines[-1] == "and 14 outputs that are closer"
    assert warning.startswith("output out0 is at 0.0 dB")


def test_few_outputs_are_all_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "xslim")
    log_comparison([row("boxes", 30.0), row("scores", 20.0)])
    assert [line.split()[0] for line in caplog.messages[0].splitlines()[2:]] == ["boxes", "scores"]


def test_equal_outputs_do_not_exceed_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "xslim")
    log_comparison([row("same", 30.0)] * 30)
    assert len(caplog.messages[0].splitlines()) == MOST_OUTPUTS + 3
