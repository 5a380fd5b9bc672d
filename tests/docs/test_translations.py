"""A translation has the same code as its original, comments aside, and the same sections and tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from . import markdown
from .conftest import CHINESE, ROOT, name

HAN = re.compile(r"[\u4e00-\u9fff]")


def original_of(translation: Path) -> Path:
    """Return the English document."""
    return translation.with_name(translation.name.replace("_zh", ""))


def test_the_documents_that_a_user_needs_first_are_translated() -> None:
    assert {name(document) for document in CHINESE} >= {"README_zh.md", "docs/configuration_zh.md"}


@pytest.mark.parametrize("document", CHINESE, ids=name)
def test_code_is_the_same(document: Path) -> None:
    translated = [(b.language, b.file, b.code) for b in markdown.blocks(document)]
    assert translated == [(b.language, b.file, b.code) for b in markdown.blocks(original_of(document))]


@pytest.mark.parametrize("document", CHINESE, ids=name)
def test_shape_is_the_same(document: Path) -> None:
    original = original_of(document)
    assert len(markdown.anchors(document)) == len(markdown.anchors(original))
    assert len(markdown.table_rows(document)) == len(markdown.table_rows(original))
    fields = [
        [markdown.INLINE_CODE.findall(row[0]) for row in markdown.table_rows(path)]
        for path in (document, original)
    ]
    assert fields[0] == fields[1]


@pytest.mark.parametrize("document", CHINESE, ids=name)
def test_it_is_chinese_and_each_links_to_the_other(document: Path) -> None:
    letters = len(HAN.findall(markdown.prose(document)))
    assert letters > 0.08 * len(markdown.prose(original_of(document)))
    assert original_of(document).name in markdown.links(document)
    assert document.name in markdown.links(original_of(document))


def test_the_licence_is_there() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text("utf-8")
