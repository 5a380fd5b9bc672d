"""The code in the English documents runs, in a copy of the quick start whose files it names.

`bash` and `python` blocks are executed, `json` blocks are checked as configurations by another test, `text`
is shown only, and `shell` marks commands that a test must not run: installing, building, make.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from . import markdown
from .conftest import DOCUMENTS, ENGLISH, name

EXECUTED = ("bash", "python")
SHOWN = ("json", "toml", "text", "shell")
BLOCKS = [
    block
    for document in ENGLISH
    for block in markdown.blocks(document)
    if block.language in EXECUTED and block.file is None
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_every_block_has_a_known_language(document: Path) -> None:
    assert {block.language for block in markdown.blocks(document)} <= {*EXECUTED, *SHOWN}


def test_both_languages_are_executed() -> None:
    assert {block.language for block in BLOCKS} == set(EXECUTED)


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block_runs(block: markdown.Block, sandbox: Path, environment: dict[str, str]) -> None:
    for other in markdown.blocks(block.document):
        if other.file is not None:
            (sandbox / other.file).write_text(other.text, "utf-8")
    command = ["bash", "-euo", "pipefail", "-c"] if block.language == "bash" else [sys.executable, "-c"]
    done = subprocess.run(
        [*command, block.text], cwd=sandbox, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
