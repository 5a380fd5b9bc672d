"""Text in columns: a Chinese character is two columns wide."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xslim.texts.columns import columns, padded, table, wrapped

WORDS = st.lists(
    st.one_of(st.text("abc0-", min_size=1, max_size=9), st.text("校准量化，。", min_size=1, max_size=12)),
    min_size=1,
    max_size=12,
)


def test_a_chinese_character_takes_two_columns() -> None:
    assert columns("int8 量化") == 9
    assert padded("量化", 6) == "量化  "


def test_the_columns_of_a_table_stand_under_each_other() -> None:
    lines = table([("输出", "SQNR dB", "余弦"), ("scores", "7.5", "0.9")], "<>>")
    assert lines == ["输出    SQNR dB  余弦", "scores      7.5   0.9"]
    assert {columns(line) for line in lines} == {columns(lines[0])}


@given(WORDS, st.integers(30, 60))
def test_wrapped_lines_fit_and_hold_the_whole_text(words: list[str], width: int) -> None:
    text = " ".join(words)
    lines = wrapped(text, width, "  ")
    # A mark that must not begin a line may stand beyond the width.
    assert all(columns(line.rstrip("，。")) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())


def test_no_line_is_empty_and_words_stay_whole() -> None:
    assert wrapped("the calibration list", 12, "  ") == ["the", "  calibration", "  list"]
    assert wrapped("校准 list.txt 文件", 14) == ["校准 list.txt", "文件"]
    assert wrapped("先校准，再量化", 8) == ["先校准，", "再量化"]
