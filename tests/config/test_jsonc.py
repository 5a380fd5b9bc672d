from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xslim.config import load_config
from xslim.config.jsonc import plain_json
from xslim.errors import ConfigError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(json_values)
def test_json_without_comments_stays_as_it_is(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=1)):
        assert plain_json(text) == text


def test_comments_are_blanked_where_they_stand() -> None:
    text = '{ // a "quoted" comment\n  "a": "//no /* comment */", /* one\n two */ "b": "\\"//" }'
    blank = plain_json(text)
    assert json.loads(blank) == {"a": "//no /* comment */", "b": '"//'}
    assert [len(line) for line in blank.splitlines()] == [len(line) for line in text.splitlines()]


def test_a_configuration_may_have_comments(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('// why\n{"quantization_parameters": {"precision_level": 4 /* fp16 */}}', "utf-8")
    assert load_config(path).quantization_parameters.precision_level == 4


def test_errors_keep_their_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{\n  // a comment\n  "a": ]\n}', "utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert "line 3, column 8" in str(caught.value)
