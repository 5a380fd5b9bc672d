"""Tests of the command line: help, log, exit statuses, overrides."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest

import xslim
from tests.cli.workspace import Workspace, make_workspace, replace_pipeline
from xslim.cli import main
from xslim.cli.commands import COMMANDS
from xslim.config import Config, schema


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path / "space")


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Replace the pipeline; the dict receives what the command line calls it with."""
    seen: dict[str, Any] = {}

    def record(config: Config, model: str | None, output: str | None) -> None:
        seen.update(config=config, model=model, output=output)

    replace_pipeline(monkeypatch, record)
    return seen


def test_help_fits_a_screen_and_shows_three_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    assert caught.value.code == 0
    assert len(lines) <= 24
    assert max(map(len, lines)) < 80
    examples = lines[lines.index("examples:") + 1 :]
    assert len(examples) == 3
    assert all(line.startswith("  xslim -") for line in examples)


def test_help_names_every_option_and_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["-h"])
    text = capsys.readouterr().out
    options = (
        "-c --config -i --input_path -o --output_path --dynq --fp16 --opset --no-functions --ignore_op_types"
    )
    options += " --ignore_op_names --quiet --verbose --debug --version"
    for word in [*options.split(), *COMMANDS]:
        assert word in text


def test_no_arguments_show_the_help_and_fail(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("usage: xslim ")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: xslim {command} ")
    assert COMMANDS[command].description in text


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"xslim {xslim.__version__}\n"


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == schema()


@pytest.mark.parametrize(
    ("options", "level"), [([], 100), (["--dynq"], 3), (["--fp16"], 4)], ids=["slim", "dynamic", "half"]
)
def test_a_model_alone_needs_no_config(call: dict[str, Any], options: list[str], level: int) -> None:
    assert main(["-i", "a.onnx", "-o", "b.onnx", *options]) == 0
    assert (call["model"], call["output"]) == ("a.onnx", "b.onnx")
    assert call["config"].quantization_parameters.precision_level == level


def test_options_win_over_the_config(call: dict[str, Any], space: Workspace) -> None:
    space.section("model")["opset"] = 13
    space.section("quantization")["ignore_op_types"] = ["Softmax"]
    arguments = ["--opset", "19", "--ignore_op_types", "Conv, Gemm,", "--ignore_op_names", "/a/b", "--dynq"]
    assert main(["-c", str(space.write_config()), *arguments]) == 0
    config = call["config"]
    assert config.model_parameters.opset == 19
    assert config.quantization_parameters.ignore_op_types == ("Softmax", "Conv", "Gemm")
    assert config.quantization_parameters.ignore_op_names == ("/a/b",)
    assert config.quantization_parameters.precision_level == 3
    assert config.base_dir == space.folder


def test_a_config_alone_stays_as_it_is(call: dict[str, Any], space: Workspace) -> None:
    assert main(["-c", str(space.write_config())]) == 0
    assert call["config"] == xslim.load_config(space.folder / "config.json")
    assert (call["model"], call["output"]) == (None, None)


def raising(error: BaseException) -> Any:
    def fail(*_: object) -> None:
        raise error

    return fail


def test_an_unexpected_failure_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_pipeline(monkeypatch, raising(RuntimeError("lost\nsheep")))
    assert main(["-i", "a.onnx"]) == 1
    assert capsys.readouterr().err == (
        "xslim: internal error: RuntimeError: lost sheep (run again with --debug for the traceback)\n"
    )
    assert main(["-i", "a.onnx", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_expected_error_has_its_traceback_only_with_debug(
    space: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["-c", str(space.folder / "none.json")]
    assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert main([*arguments, "--debug"]) == 2
    streams = capsys.readouterr()
    assert "Traceback" in streams.err
    assert streams.err.splitlines()[-1].startswith("xslim: error: ")


def test_an_interrupt_has_its_own_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_pipeline(monkeypatch, raising(KeyboardInterrupt()))
    assert main(["-i", "a.onnx"]) == 130
    assert capsys.readouterr().err == "xslim: interrupted\n"


@pytest.mark.parametrize(
    ("option", "seen"),
    [
        (None, ["some information", "xslim: warning: some warning"]),
        ("--quiet", ["xslim: warning: some warning"]),
        ("--verbose", ["some detail", "some information", "xslim: warning: some warning"]),
    ],
)
def test_log_lines_go_to_stderr(
    option: str | None,
    seen: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def log(*_: object) -> None:
        logger = logging.getLogger("xslim.somewhere")
        logger.debug("some detail")
        logger.info("some information")
        logger.warning("some warning")

    before = list(logging.getLogger("xslim").handlers)
    replace_pipeline(monkeypatch, log)
    assert main(["-i", "a.onnx", *([option] if option else [])]) == 0
    streams = capsys.readouterr()
    assert streams.err.splitlines() == seen
    assert streams.out == ""
    assert logging.getLogger("xslim").handlers == before


def test_the_log_can_be_read_by_programs(space: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-c", str(space.write_config()), "--log-json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {frozenset(line) for line in lines} == {frozenset({"level", "module", "message"})}
    assert any(line["message"].startswith("wrote ") and line["level"] == "info" for line in lines)


def test_both_entry_points_and_the_api_write_the_same_bytes(space: Workspace) -> None:
    config = str(space.write_config())
    outputs = [space.folder / name for name in ("module.onnx", "script.onnx", "api.onnx")]
    script = Path(sys.executable).parent / "xslim"
    subprocess.run([sys.executable, "-m", "xslim", "-c", config, "-o", str(outputs[0])], check=True)
    subprocess.run([str(script), "-c", config, "-o", str(outputs[1]), "--quiet"], check=True)
    result = xslim.quantize_onnx_model(config, onnx.load(space.model), str(outputs[2]))
    contents = [path.read_bytes() for path in outputs]
    assert contents[0] == contents[1] == contents[2]
    assert result == onnx.load(outputs[2])


ENDING = """
import atexit, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xslim.cli import main

folder, *sys.argv[1:] = sys.argv[1:]
atexit.register(Path(folder, "left").write_text, "by an exit function")
threading.Timer(0.5, Path(folder, "late").write_text, ["by a thread"]).start()
idle = ThreadPoolExecutor()
idle.submit(print, "worked")
sys.exit(main())
"""


@pytest.mark.parametrize(("arguments", "status"), [(["--version"], 0), (["-c", "missing.json"], 2)])
def test_the_end_waits_for_threads_and_exit_functions(
    arguments: Sequence[str], status: int, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", ENDING, str(tmp_path), *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == status
    assert ended.stdout.startswith("worked")
    assert {path.name for path in tmp_path.iterdir()} == {"left", "late"}
    assert status == 0 or "missing.json" in ended.stderr


def test_importing_is_light() -> None:
    code = (
        "import sys, xslim; from xslim.cli import main; "
        "heavy = {'numpy', 'onnx', 'onnxruntime', 'cv2', 'pydantic', 'rich', 'torch'} & set(sys.modules); "
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_offers_what_it_names() -> None:
    for name in xslim.__all__:
        assert getattr(xslim, name) is not None
        assert name in dir(xslim)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = xslim.nothing


@pytest.mark.parametrize(("name", "warned"), [("a.q.onnx", True), ("a_slim.onnx", False)])
def test_an_output_that_promises_int8_without_an_option(
    name: str, warned: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    replace_pipeline(monkeypatch, lambda *_: None)
    assert main(["-i", "a.onnx", "-o", name]) == 0
    assert ("--dynq quantises without data" in capsys.readouterr().err) == warned
    assert main(["-i", "a.onnx", "-o", name, "--dynq"]) == 0
    assert "only simplified" not in capsys.readouterr().err


@pytest.mark.parametrize(("least", "status"), [("5", 0), ("150", 1)])
def test_a_run_guards_a_build(
    space: Workspace, least: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    config = space.write_config()
    output = space.folder / "guarded.onnx"
    assert main(["-c", str(config), "-o", str(output), "--fail-below", least]) == status
    assert output.is_file()
    assert ("below the wanted 150 dB" in capsys.readouterr().err) == bool(status)
