"""Tests of the formatting of numbers."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xslim.analysis.numbers import count, decibels, percent, plain, pretty, share, short

values = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


@given(values)
def test_pretty_json_means_the_same(value: object) -> None:
    assert json.loads(pretty(value)) == value


def test_lists_of_numbers_stay_on_a_line() -> None:
    assert pretty({"a": [1.5, 2], "b": [{"c": "d"}]}) == (
        '{\n  "a": [1.5, 2],\n  "b": [\n    {\n      "c": "d"\n    }\n  ]\n}'
    )


def test_what_is_not_finite_is_null() -> None:
    assert plain({"a": (math.nan, math.inf, 1 / 3)}) == {"a": [None, None, 0.333333]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (short(math.inf), "∞"),
        (short(0.000123456), "0.0001235"),
        (decibels(math.inf), "exact"),
        (decibels(20.04), "20.0 dB"),
        (percent(1, 4), "25.0 %"),
        (percent(None, 4), "-"),
        (percent(1, 0), "-"),
        (count(1_430_000_000), "1.43 G"),
        (count(950), "950"),
        (count(None), "-"),
    ],
)
def test_text(text: str, expected: str) -> None:
    assert text == expected


@pytest.mark.parametrize(
    ("part", "text"), [(0, "0"), (1e-9, "< 0.001 %"), (0.0125, "1.250 %"), (1, "100.000 %")]
)
def test_shares(part: float, text: str) -> None:
    assert share(part) == text
