"""What a user reads is in the catalogue, and is found again there with its values filled in."""

from __future__ import annotations

import re
import string

import pytest

from xslim.texts import catalogue, speaking, spoken

from .sources import shape, texts

CHINESE = catalogue("zh")
HAN = re.compile("[\u4e00-\u9fff]")
PLURALS = {"s", "s2", "verb"}
"""Values that are only endings of English words."""


def fields(text: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(text) if name]


def test_every_text_that_a_user_reads_is_in_the_catalogue() -> None:
    known = {shape(key).strip() for key in CHINESE.texts}
    found = list(texts())
    missing = [f"{place}: {text}" for place, text in found if shape(text).strip() not in known]
    assert not missing, "\n".join(missing)
    assert len(found) > 600


@pytest.mark.parametrize("key", CHINESE.texts)
def test_a_translation_has_the_values_of_its_key(key: str) -> None:
    said = CHINESE.texts[key]
    assert len(set(fields(key))) == len(fields(key)), "two values have one name"
    assert set(fields(key)) - set(fields(said)) <= PLURALS
    assert set(fields(said)) <= set(fields(key))


@pytest.mark.parametrize("key", CHINESE.texts)
def test_a_sentence_is_recognised_as_what_it_is(key: str) -> None:
    values = {name: f"v{index}" for index, name in enumerate(fields(key))}
    assert CHINESE.sentence(key.format(**values)) == CHINESE.texts[key].format(**values)


def test_sentences_as_values_are_translated_and_names_are_not() -> None:
    assert CHINESE.sentence("wrote output") == "已写出 output"
    assert CHINESE.sentence("the configuration does not work yet: no text of ours") == (
        "这份配置还不能用：no text of ours"
    )
    assert CHINESE.sentence("the configuration does not work yet: holds no calibration file") == (
        "这份配置还不能用：" + CHINESE.texts["holds no calibration file"]
    )


def test_every_translation_is_chinese() -> None:
    others = [key for key, said in CHINESE.texts.items() if not HAN.search(said)]
    assert len(others) < 8, "only commands and figures stay as they are"


def test_only_a_command_speaks_another_language() -> None:
    assert spoken("holds no calibration file") == "holds no calibration file"
    with speaking("zh"):
        assert HAN.search(spoken("holds no calibration file"))
    assert spoken("holds no calibration file") == "holds no calibration file"
