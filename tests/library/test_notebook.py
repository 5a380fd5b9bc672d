"""Reports in a notebook: several share one page, and leave the rest of it alone."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pytest

import xslim
from tests import models


@pytest.fixture(scope="module")
def results() -> list[xslim.Result]:
    data = np.random.default_rng(0).standard_normal((12, 3, 8, 8)).astype(np.float32)
    return [
        xslim.quantize(model, data, finetune_level=0)
        for model in (models.conv_net(), models.residual_net("batch"))
    ]


def ids(page: str) -> list[str]:
    return re.findall(r'\sid="([^"]+)"', page)


def selectors(styles: str) -> Iterator[str]:
    """Yield the selectors and at-rules that are not inside of others."""
    depth, start = 0, 0
    for position, letter in enumerate(
        re.sub(r"/\*.*?\*/", lambda match: " " * len(match[0]), styles, flags=re.S)
    ):
        if letter == "{":
            if not depth:
                yield styles[start:position].strip()
            depth += 1
        elif letter == "}":
            depth -= 1
            start = position + 1


def test_ids_of_two_reports_differ_and_links_stay_inside(results: list[xslim.Result]) -> None:
    first, second = (result.report.to_html("en", embedded=True) for result in results)
    assert ids(first)
    assert not set(ids(first)) & set(ids(second))
    assert len(ids(first)) == len(set(ids(first)))
    assert {link[1:] for link in re.findall(r'href="(#[^"]+)"', first)} <= set(ids(first))


def test_styles_hold_inside_the_report_only(results: list[xslim.Result]) -> None:
    report = results[0].report
    for text in (report.to_html(embedded=True), report._repr_html_()):
        styles = re.search(r"<style>(.*?)</style>", text, re.DOTALL)
        assert styles is not None
        assert set(selectors(styles[1])) == {".xslim-report"}
        assert not re.search(r"<(html|head|body|link|meta)\b", text)


def test_the_summary_needs_no_script(results: list[xslim.Result]) -> None:
    summary = results[0]._repr_html_()
    assert "<script" not in summary
    assert ids(summary) == []
    worst = min(output.errors.sqnr_db for output in results[0].report.data.outputs)
    assert f"{worst:.1f} dB" in summary
