"""The report in Chinese: one catalogue with English keys, English where a text is missing."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from xslim.analysis import Report, report_files
from xslim.analysis.facts import FloatOperator
from xslim.texts import Catalogue, Message, catalogue, language_of
from xslim.texts.language import LOCALES, PREFERRED

CHINESE = catalogue("zh")
HAN = re.compile("[\u4e00-\u9fff]")


class Recorder(Catalogue):
    """A catalogue that remembers what it was asked for."""

    def __call__(self, key: str | Message, **values: object) -> str:
        if isinstance(key, str):
            ASKED.add(key)
        return super().__call__(key, **values)


ASKED: set[str] = set()


def test_every_text_of_the_report_is_in_the_catalogue(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    operators = (FloatOperator("a", "Exp", "its input is float"),)
    for module in ("html", "markdown"):
        monkeypatch.setattr(
            f"xslim.analysis.{module}.catalogue", lambda language: Recorder(language, CHINESE.texts)
        )
    ASKED.clear()
    report_files(replace(report, float_operators=operators), "zh")
    assert ASKED - set(CHINESE.texts) == set()
    assert len(ASKED) > 70


class Texts(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_titles_are_chinese_and_json_is_the_same(report: Report) -> None:
    english, chinese = report_files(report), report_files(report, "zh")
    assert chinese["_report.json"] == english["_report.json"]
    assert '<html lang="zh">' in chinese["_report.html"]
    titles = re.findall(r"<h2>(.*?)</h2>", chinese["_report.html"])
    assert len(titles) >= 8
    assert all(HAN.search(title) for title in titles)
    assert not any(HAN.search(text) for text in Texts(english["_report.html"]).texts)
    assert "## 张量" in chinese["_report.md"]


def test_a_missing_text_stays_english() -> None:
    assert CHINESE("no such text {count}", count=3) == "no such text 3"


def test_a_sentence_within_a_sentence_is_translated() -> None:
    inner = Message("noise is {percent} % of the signal's energy ({db} dB)", {"percent": 1, "db": 20})
    outer = Message("The outputs are far from the float model: {noise}.", {"noise": inner})
    assert "噪声" in CHINESE(outer)
    assert str(outer) == (
        "The outputs are far from the float model: noise is 1 % of the signal's energy (20 dB)."
    )


@pytest.mark.parametrize(
    ("locale", "chosen", "language"),
    [
        ({"LANG": "zh_CN.UTF-8"}, None, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, None, "en"),
        ({"LANG": "de_DE.UTF-8", "LC_MESSAGES": "zh_TW"}, None, "zh"),
        ({"LANG": "zh_CN.UTF-8"}, "en", "en"),
        ({"LANG": "de_DE.UTF-8", "LANGUAGE": "zh_CN:de"}, None, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LANGUAGE": "en"}, None, "en"),
        ({"LC_ALL": "C.UTF-8", "LANGUAGE": "zh"}, None, "en"),
        ({}, None, "en"),
    ],
)
def test_the_locale_chooses_unless_the_user_does(
    locale: dict[str, str], chosen: str | None, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*LOCALES, PREFERRED):
        monkeypatch.delenv(name, raising=False)
    for name, value in locale.items():
        monkeypatch.setenv(name, value)
    assert language_of(chosen) == language
