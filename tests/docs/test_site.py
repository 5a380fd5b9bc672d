"""The site has a page for every document, in both languages, and builds without a warning."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from . import markdown
from .conftest import DOCUMENTS, ROOT

LEFT_OUT = {"CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md"}
"""Documents that GitHub shows in places of its own."""


@pytest.fixture(scope="module")
def site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_hook", ROOT / "tools" / "site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_document_is_a_page(site: ModuleType) -> None:
    known = {str(document.relative_to(ROOT)) for document in DOCUMENTS}
    assert set(site.pages()) == known - LEFT_OUT


def test_every_english_page_is_in_the_navigation_once(site: ModuleType) -> None:
    text = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    listed = re.findall(r": (\S+\.md)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(page for page in site.pages().values() if not page.endswith(".zh.md"))


def test_every_title_of_the_navigation_is_translated() -> None:
    before, _, navigation = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")
    navigation, _, _ = navigation.partition("\nmarkdown_extensions:")
    titles = re.findall(r"^ +- ([^:]+):", navigation, re.MULTILINE)
    translated = re.findall(r"^ {12}([^:]+): ", before, re.MULTILINE)
    assert len(titles) > 10
    assert set(titles) == set(translated)


def test_links_lead_to_pages_or_to_the_repository(site: ModuleType, tmp_path: Path) -> None:
    site.write_pages(tmp_path / "pages")
    written = {path.name for path in (tmp_path / "pages").iterdir()}
    assert written == set(site.pages().values())
    for page in (tmp_path / "pages").iterdir():
        for link in markdown.links(page):
            target, _, anchor = link.partition("#")
            assert "://" in target or not target or target in written, f"{page.name}: {link}"
            if target in written and anchor and not page.name.endswith(".zh.md"):
                assert anchor in markdown.anchors(tmp_path / "pages" / target)


def test_names_of_files_become_titles_and_code_is_left_alone(site: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    text = "[a](../other.py) [b](two_zh.md#x)\n\n```python file=a.py\nx = '[a](../other.py)'\n```\n"
    (tmp_path / "docs" / "one.md").write_text(text, "utf-8")
    (tmp_path / "docs" / "two_zh.md").write_text("# x\n", "utf-8")
    written = site.page_text("docs/one.md", tmp_path)
    assert f"[a]({site.REPOSITORY}/other.py) [b](two.md#x)" in written
    assert "```python title=\"a.py\"\nx = '[a](../other.py)'\n```" in written


def test_chinese_lines_are_joined_and_the_switch_of_languages_is_left_out(
    site: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "docs").mkdir()
    text = "# 题\n\n[English](one.md) | 中文\n\n第一行、\n第二行 a\n第三行。\n\n- 甲、\n  乙\n- 丙\n"
    (tmp_path / "docs" / "one_zh.md").write_text(text, "utf-8")
    written = site.page_text("docs/one_zh.md", tmp_path)
    assert written == "# 题\n\n第一行、第二行 a\n第三行。\n\n- 甲、乙\n- 丙\n"


def test_no_page_leads_to_itself_as_another_language(site: ModuleType) -> None:
    for source in site.pages():
        assert "[中文]" not in site.page_text(source)
        assert "[English]" not in site.page_text(source)


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs_static_i18n", reason="pip install --group docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    english, chinese = (
        (tmp_path / "site" / place / "index.html").read_text("utf-8") for place in (".", "zh")
    )
    assert '<html lang="en"' in english
    assert '<html lang="zh"' in chinese
    for text in (english, chinese):
        assert not re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="https?://(?!spacemit)[^"]+', text)
