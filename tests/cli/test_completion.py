"""The printed completion is a script that the shell takes and that knows commands and options."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from xslim.cli import main
from xslim.cli.commands import COMMANDS

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_commands_and_options_are_named(shell: str, capsys: Capture) -> None:
    pytest.importorskip("shtab")
    assert main(["--print-completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(name in script for name in COMMANDS)
    assert "fail-below" in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes(capsys: Capture) -> None:
    pytest.importorskip("shtab")
    main(["--print-completion", "bash"])
    script = capsys.readouterr().out
    ask = """
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        _shtab_xslim xslim "${COMP_WORDS[$COMP_CWORD]}"
        printf '%s ' "${COMPREPLY[@]}"
    """
    for words, wanted in ((["xslim", "qu"], "quantize "), (["xslim", "compare", "--sim"], "--simulate ")):
        done = subprocess.run(
            ["bash", "-c", f"{script}\n{ask}", "bash", *words], capture_output=True, text=True, check=True
        )
        assert done.stdout == wanted


def test_without_the_package_the_error_names_it(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["--print-completion", "bash"]) == 2
    assert "pip install 'xslim[completion]'" in capsys.readouterr().err
