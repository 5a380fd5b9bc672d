"""What a user reads is in the catalogue, and is found again there with its values filled in."""

from __future__ import annotations

import re
import string

from xslim.texts import catalogue, speaking, spoken
from xslim.texts.catalogue import FEWEST_LETTERS

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


def test_a_translation_has_the_values_of_its_key() -> None:
    for key, said in CHINESE.texts.items():
        assert len(set(fields(key))) == len(fields(key)), f"two values have one name: {key}"
        assert set(fields(key)) - set(fields(said)) <= PLURALS, key
        assert set(fields(said)) <= set(fields(key)), key


def test_a_sentence_is_recognised_as_what_it_is() -> None:
    for key, said in CHINESE.texts.items():
        values = {name: f"v{index}" for index, name in enumerate(fields(key))}
        letters = sum(map(str.isalpha, shape(key)))
        if values and letters < FEWEST_LETTERS:
            continue
        assert CHINESE.sentence(key.format(**values)) == said.format(**values)


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
