"""Options before the command, help for every command, and what a wrong word probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import models
from xslim.cli import main
from xslim.cli.commands import COMMANDS

Capture = pytest.CaptureFixture[str]


def test_the_help_fits_a_screen(capsys: Capture) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) < 80


def test_every_command_says_what_it_does(capsys: Capture) -> None:
    assert main(["help"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) < 80
    for name, command in COMMANDS.items():
        assert f"{name:9}{command.description}\n" in shown
        assert main(["help", name]) == 0
        assert command.description in capsys.readouterr().out


@pytest.mark.parametrize("options", [["--quiet"], ["--log-json", "--verbose"]])
def test_common_options_may_stand_before_the_command(
    tmp_path: Path, capsys: Capture, options: list[str]
) -> None:
    models.save(models.conv_net(), tmp_path / "net.onnx")
    target = tmp_path / "start.json"
    assert main([*options, "init", str(tmp_path / "net.onnx"), "-o", str(target)]) == 0
    (tmp_path / "calibration").mkdir()
    (tmp_path / "calibration" / "x.txt").write_text("x.npy\n", "utf-8")
    capsys.readouterr()
    assert main([*options, "plan", "-c", str(target), "-o", str(tmp_path / "plan.json")]) == 0
    shown = capsys.readouterr().err
    assert ("nodes became" in shown) == ("--verbose" in options)
    assert (tmp_path / "plan.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["net.onnx"], "with data: xslim init net.onnx, without: xslim -i net.onnx --dynq or --fp16"),
        (["--quiet", "net.onnx"], "with data: xslim init net.onnx"),
        (["net.json"], "to quantise as it says: xslim -c net.json"),
        (["help", "pla"], "did you mean plan?"),
        (["plan", "net.onnx"], "xslim init MODEL writes a configuration"),
    ],
)
def test_what_was_probably_meant(arguments: list[str], message: str, capsys: Capture) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
