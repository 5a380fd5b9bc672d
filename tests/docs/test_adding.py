"""The page on additions names files and folders that exist, and names in them that are there."""

from __future__ import annotations

import re

from . import markdown
from .conftest import ROOT

PAGE = ROOT / "docs" / "adding.md"
NAME_IN_FILE = re.compile(r"`([A-Z][A-Za-z_]+)` (?:in|of) `(\w+/[^`]+\.\w+)`")


def test_files_and_folders_exist() -> None:
    paths = [code for code in markdown.inline_code(PAGE) if re.match(r"(python|rust|docs|tests)/", code)]
    assert len(paths) > 20
    for path in paths:
        place = ROOT / path
        assert (place.parent if "NAME" in path else place).exists(), path


def test_names_stand_in_their_files() -> None:
    found = NAME_IN_FILE.findall(" ".join(PAGE.read_text("utf-8").split()))
    assert len(found) >= 4
    for name, path in found:
        assert name in (ROOT / path).read_text("utf-8"), f"{name} in {path}"
