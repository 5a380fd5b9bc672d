"""Help and messages in the language that the user chooses; what programs read stays English."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import models
from xslim.cli import main
from xslim.cli.commands import COMMANDS
from xslim.texts.columns import columns

HAN = re.compile("[\u4e00-\u9fff]")


@pytest.mark.parametrize("arguments", [["--lang", "zh", "quux"], ["quux", "--lang=zh"]])
def test_an_error_is_chinese_wherever_the_option_stands(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "未知的子命令 'quux'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_the_whole_help_is_chinese_and_fits_the_screen(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*command.split(), "--help", "--lang", "zh"])
    lines = capsys.readouterr().out.splitlines()
    assert max(map(columns, lines)) <= 80
    assert command or len(lines) <= 24
    described = [line[26:] for line in lines if re.match(r"  \S", line) and len(line) > 26]
    assert not [text for text in described if re.fullmatch(r"[ -~]*[a-z]{4,} [a-z]{4,}[ -~]*", text)]


def test_all_problems_of_a_configuration_are_chinese(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"quantization_parameters": {"precision_leve": 0, "finetune_level": "x"}}')
    assert main(["-c", str(config), "--lang", "zh"]) == 2
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith("xslim：错误：")
    assert "2 个问题" in first
    assert "未知字段，是否想写 precision_level？" in "".join(rest)
    assert "必须是整数" in "".join(rest)


def _run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    models.save(models.conv_net(), folder / "net.onnx")
    np.save(folder / "x.npy", models.draw(0, 1, 3, 8, 8))
    (folder / "list.txt").write_text("x.npy\n" * 3)
    entry = {"file_type": "npy", "data_list_path": "list.txt"}
    config = {
        "model_parameters": {"onnx_model": "net.onnx"},
        "calibration_parameters": {"input_parameters": [entry]},
        "quantization_parameters": {"finetune_level": 1},
    }
    (folder / "net.json").write_text(json.dumps(config))
    command = [sys.executable, "-m", "xslim", "-c", "net.json", *options]
    # Without an encoding, Windows would read the output as its code page.
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False, env=_environment()
    )


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONIOENCODING": "utf-8", **more}


def test_every_line_of_a_run_and_its_report_are_chinese(tmp_path: Path) -> None:
    done = _run(tmp_path, "--lang", "zh")
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    # Names of outputs, figures and rewritten operators have no words to translate.
    english = [line for line in lines if not HAN.search(line) and re.search("[a-z]{4,} [a-z]{4,}", line)]
    assert len(lines) > 8
    assert not english
    assert '<html lang="zh">' in next(tmp_path.rglob("*_report.html")).read_text("utf-8")


def test_a_json_log_is_english(tmp_path: Path) -> None:
    done = _run(tmp_path, "--lang", "zh", "--log-json")
    messages = [json.loads(line)["message"] for line in done.stderr.splitlines()]
    assert any(message.startswith("wrote ") for message in messages)
    assert not HAN.search(done.stderr), "the headings of tables are English too"
    assert '<html lang="zh">' in next(tmp_path.rglob("*_report.html")).read_text("utf-8")


def test_a_terminal_without_chinese_characters_gets_english(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "xslim", "quux", "--lang", "zh"],
        capture_output=True,
        check=False,
        env=_environment(PYTHONIOENCODING="latin-1"),
    )
    assert b"unknown command 'quux'" in done.stderr
