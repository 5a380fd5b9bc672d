"""The end of a run says what the float16 epilogue of the provider costs, and names what overflows."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest

import xslim
from tests import models
from tests.library.test_data import images


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if "float16" in record.message]


def test_the_line_shows_both_figures(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "xslim"):
        xslim.quantize(models.conv_net("n"), images(24), target="spacemit")
    [line] = lines(caplog)
    chip, plain = (float(figure) for figure in re.findall(r"(\d+\.\d+) (?:dB|without)", line))
    assert chip == pytest.approx(plain, abs=3)
    assert 10 < plain < 90


def test_other_targets_have_no_epilogue(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "xslim"):
        xslim.quantize(models.conv_net("n"), images(24), target="generic")
    assert lines(caplog) == []


def test_sums_beyond_float16_are_named(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "xslim"):
        xslim.quantize(models.conv_net("n"), images(24) * np.float32(1e6), target="spacemit")
    assert any("set SPACEMIT_EP_DISABLE_FLOAT16_EPILOGUE=1 on the board" in line for line in lines(caplog))
