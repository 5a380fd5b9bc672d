"""XSlim prints only its own lines, with visible characters only, to any kind of output stream."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

import xslim
from tests import models
from tests.cli.workspace import Workspace, make_workspace, replace_pipeline
from xslim.cli import main

# Colours and a new title; a line of its own; C1, DEL, the direction of writing, half a character.
EVIL = "\x1b[31m\x1b]0;owned\x07\r\nxslim: error: \x9b1m\x7f\u202eabc"
XSLIM = [sys.executable, "-m", "xslim"]


def is_visible(text: str) -> bool:
    return all(character.isprintable() or character == "\n" for character in text)


def evil_model() -> onnx.ModelProto:
    """A sound model all of whose names are evil."""
    x, y = f"x{EVIL}", f"y{EVIL}"
    nodes = [
        helper.make_node("Relu", [x], [f"r{EVIL}"], name=f"relu{EVIL}"),
        helper.make_node(f"Own{EVIL}", [f"r{EVIL}"], [y], name=f"own{EVIL}", domain=f"own{EVIL}"),
    ]
    graph = helper.make_graph(
        nodes,
        f"graph{EVIL}",
        [helper.make_tensor_value_info(x, TensorProto.FLOAT, [1, f"n{EVIL}"])],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(f"own{EVIL}", 1)]
    return helper.make_model(graph, producer_name=EVIL, opset_imports=opsets, ir_version=8)


COMMANDS = {
    "info": ["info", "{model}"],
    "info --json": ["info", "{model}", "--json"],
    "check": ["check", "{model}"],
    "check --json": ["check", "{model}", "--json"],
    "compare": ["compare", "{model}", "{model}"],
    "init": ["init", "{model}", "-o", "{folder}/start.json"],
    "slim": ["-i", "{model}", "-o", "{folder}/slim.onnx", "--verbose"],
    "dynamic": ["-i", "{model}", "-o", "{folder}/dynamic.onnx", "--dynq", "--log-json"],
    "plan": ["plan", "-c", "{config}", "-i", "{model}"],
    "plan --json": ["plan", "-c", "{config}", "-i", "{model}", "--json"],
    "static": ["-c", "{config}", "-i", "{model}"],
    "no such file": ["info", f"/nowhere/{EVIL}"],
    "no such option": ["info", f"--{EVIL}"],
    "no such command": [EVIL],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_names_show_nothing_but_visible_characters(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    space = make_workspace(tmp_path / "space")
    space.model.write_bytes(evil_model().SerializeToString())
    places = {"model": space.model, "folder": space.folder, "config": space.write_config()}
    status = main([part.format(**places) if "{" in part else part for part in COMMANDS[name]])
    streams = capfd.readouterr()
    assert status in (0, 1, 2)
    assert "internal error" not in streams.err
    assert is_visible(streams.out)
    assert is_visible(streams.err)
    # A line break in a name makes no line.
    assert not [line for line in streams.err.splitlines()[:-1] if line.startswith("xslim: error: ")]


def noisy(*_: object) -> None:
    """Do what libraries do to stderr."""
    logging.getLogger("somebody").warning("a warning of somebody")
    logging.getLogger("onnxslim").error("an error of onnxslim")
    try:
        raise KeyError("trace")
    except KeyError:
        logging.getLogger("onnx_ir.passes").exception("a traceback of onnx_ir")
    warnings.warn("a warning of Python", stacklevel=1)
    os.write(2, b"a line of C++\n")
    logging.getLogger("xslim.somewhere").info("a line of XSlim")


NOISE = ("of somebody", "of onnxslim", "of onnx_ir", "of Python", "of C++")


@pytest.mark.parametrize("option", ["--quiet", "--verbose", "--log-json", "--debug"])
def test_other_libraries_are_heard_with_debug_only(
    option: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    replace_pipeline(monkeypatch, noisy)
    # What onnxslim adds when it is used before the command runs.
    monkeypatch.setattr(logging.getLogger("onnxslim"), "handlers", [logging.StreamHandler()])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["-i", "a.onnx", option]) == 0
    log = capfd.readouterr().err
    heard = {text for text in NOISE if text in log}
    assert heard == (set(NOISE) if option == "--debug" else set())
    assert ("Traceback" in log) == (option == "--debug")
    assert ("a line of XSlim" in log) == (option != "--quiet")


def test_warnings_come_once(tmp_path: Path) -> None:
    counted: Counter[str] = Counter()

    class Counting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            counted[record.getMessage()] += 1

    space = make_workspace(tmp_path / "space")
    region = {"input_names": ["p1"], "output_names": ["r2"], "calibration_type": "kl"}
    space.section("quantization").update(finetune_level=1, ignore_op_names=["conf1"], custom_setting=[region])
    logger, handler = logging.getLogger("xslim"), Counting()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        xslim.quantize_onnx_model(space.config)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
    assert [message for message in counted if "'conf1'" in message]
    assert [message for message in counted if "custom_setting[0] covers" in message]
    assert set(counted.values()) == {1}


# A process whose streams are not what a program is used to: redirections of a shell, and the exit status.
ODD = {
    "stderr closed": ("{xslim} -c {config} 2>&-", 0),
    "stdout closed": ("{xslim} info {model} >&-", 0),
    "all closed": ("{xslim} info {model} <&- >&- 2>&-", 0),
    "stderr closed, bad input": ("{xslim} info nothing.onnx 2>&-", 2),
    "full disk": ("{xslim} info {model} >/dev/full", 2),
    "stderr on a full disk": ("{xslim} -c {config} 2>/dev/full", 0),
    "the reader is gone": ("{xslim} info {model} | true", 0),
    "ASCII": ("PYTHONIOENCODING=ascii {xslim} info {model}", 0),
    "ASCII, bad input": ("PYTHONIOENCODING=ascii {xslim} info {model}.no", 2),
    "no current folder": ("mkdir gone; cd gone; rmdir ../gone; {xslim} info {model}", 2),
}


def in_shell(command: str, space: Workspace) -> subprocess.CompletedProcess[str]:
    folder = Path(xslim.__file__).parents[1]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONIOENCODING"}
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        env=environment | {"PYTHONPATH": str(folder)},
        cwd=space.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("name", ODD)
def test_odd_streams(name: str, tmp_path: Path) -> None:
    space = make_workspace(tmp_path / "目录")
    command, status = ODD[name]
    places = {"xslim": " ".join(XSLIM), "model": space.model, "config": space.write_config()}
    result = in_shell(command.format(**places), space)
    assert result.returncode == status or (name == "the reader is gone" and result.returncode == 141)
    assert "Traceback" not in result.stderr
    assert "internal error" not in result.stderr
    assert "Exception ignored" not in result.stderr
    if "ASCII" in name:
        assert "\\u76ee\\u5f55" in result.stdout + result.stderr
    if name.startswith("stderr") and status == 0:
        assert (space.output / "net.q.onnx").is_file()


def test_json_is_json_whatever_the_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = models.save(evil_model(), tmp_path / "evil.onnx")
    assert main(["info", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["producer"].strip() == EVIL.strip()


STREAMS = {
    "nothing": "sys.stdout = sys.stderr = None",
    "a class that only writes": "sys.stdout, sys.stderr = Tee(sys.stdout), Tee(sys.stderr)",
}


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("streams", STREAMS.values(), ids=STREAMS)
def test_a_preprocessing_function_may_replace_the_streams(streams: str, level: int, tmp_path: Path) -> None:
    space = make_workspace(tmp_path)
    space.use_function(f"import sys; {streams}; return np.concatenate([np.load(path) for path in paths])")
    with (tmp_path / "pre.py").open("a", encoding="utf-8") as file:
        file.write(
            "\nclass Tee:\n    def __init__(self, stream): self.stream = stream\n"
            "    def write(self, text): self.stream.write(text)\n"
        )
    space.section("quantization")["finetune_level"] = level
    run = subprocess.run(
        [*XSLIM, "-c", str(space.write_config())], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    assert list(space.output.glob("*.onnx"))
