"""Links, files and make targets that the documents name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from . import markdown
from .conftest import DOCUMENTS, ROOT, name

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=name)


@documents
def test_links_resolve(document: Path) -> None:
    for link in markdown.links(document):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in markdown.anchors(target), f"{link}: no such heading"


def test_there_are_links() -> None:
    assert sum(len(markdown.links(document)) for document in DOCUMENTS) > 20


@pytest.mark.parametrize("document", sorted((ROOT / "docs").glob("*.md")), ids=name)
def test_every_document_is_reached_from_the_readme(document: Path) -> None:
    readme = ROOT / ("README_zh.md" if document.stem.endswith("_zh") else "README.md")
    assert f"docs/{document.name}" in markdown.links(readme)


@documents
def test_make_targets_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    # Only in code: in prose, "make" is a verb.
    code = [*markdown.inline_code(document), *(block.text for block in markdown.blocks(document))]
    named = set(re.findall(r"^make ([a-z-]+)", "\n".join(code), re.MULTILINE))
    assert named <= targets


def test_the_readme_names_make_targets() -> None:
    assert "make demo" in (ROOT / "README.md").read_text("utf-8")
