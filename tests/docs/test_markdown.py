"""The Markdown reader finds code blocks, links and headings; the tests of the documents rely on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import markdown

SAMPLE = """\
# A `title`, of sorts

See [there](other.md#part-two) and ![this](a.png); not `[code](x.md)`.

```python file=a.py
x = 1  # one
# two

print("#three")
```

```json
{"a": "[no](link)"}
```

| field | default |
|---|---|
| `a\\|b` | `1` |

## Part two 第二
"""


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "sample.md"
    path.write_text(SAMPLE, "utf-8")
    return path


def test_blocks_have_language_file_and_line(document: Path) -> None:
    found = [(block.language, block.file, block.line) for block in markdown.blocks(document)]
    assert found == [("python", "a.py", 5), ("json", None, 12)]


def test_unknown_marks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "sample.md"
    path.write_text("```json fiel=a\n{}\n```\n", "utf-8")
    with pytest.raises(AssertionError, match="fiel=a"):
        markdown.blocks(path)


def test_code_is_the_text_without_comments(document: Path) -> None:
    assert markdown.blocks(document)[0].code == 'x = 1\nprint("#three")'


def test_links_outside_code_are_found(document: Path) -> None:
    assert markdown.links(document) == ["other.md#part-two", "a.png"]


def test_anchors_follow_the_headings(document: Path) -> None:
    assert markdown.anchors(document) == {"a-title-of-sorts", "part-two-第二"}


def test_table_rows_keep_escaped_bars(document: Path) -> None:
    assert markdown.table_rows(document) == [["field", "default"], ["`a\\|b`", "`1`"]]
