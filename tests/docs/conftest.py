"""What the documentation tests share: where the documents are, and a folder to run their code in."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUICKSTART = ROOT / "examples" / "quickstart"
DOCUMENTS = (
    *sorted(ROOT.glob("*.md")),
    *sorted(QUICKSTART.glob("README*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
)
CHINESE = tuple(document for document in DOCUMENTS if document.stem.endswith("_zh"))
ENGLISH = tuple(document for document in DOCUMENTS if document not in CHINESE)


def copy_quickstart(folder: Path) -> Path:
    """Copy the quick start without what earlier runs wrote."""
    return Path(shutil.copytree(QUICKSTART, folder, ignore=shutil.ignore_patterns("output", "__pycache__")))


def name(document: Path) -> str:
    """Name a document in a test's id."""
    return str(document.relative_to(ROOT))


@pytest.fixture
def sandbox(tmp_path: Path) -> Path:
    """A fresh copy of the quick start, whose files the documents name."""
    return copy_quickstart(tmp_path / "quickstart")


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment of a user's shell in which this interpreter's `xslim` and `python` come first."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return {**os.environ, "PATH": path}
