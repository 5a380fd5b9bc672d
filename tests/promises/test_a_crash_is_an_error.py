"""If onnxruntime crashes on a model, XSlim does not: it gives a result and a warning, or one error."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import onnx
import pytest
from onnx import helper

import xslim
from tests.cli.workspace import Workspace, make_workspace
from tests.models import draw, model, save
from xslim.cli import main
from xslim.runtime import isolated

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

# Ahead of the child's own code: models that are loaded at these levels kill it, from the given number on.
DEADLY = """
import os, signal
import xslim.runtime.worker as worker
answer = worker._answer
def deadly(request, sessions):
    source = request.get("source", b"")
    content = open(source, "rb").read() if isinstance(source, str) else bytes(source)
    if request.get("options", dict()).get("optimisation") in {levels!r} and {holds!r} in content:
        with open({counter!r}, "a+") as file:
            file.write(".")
            if file.tell() >= {first}:
                os.kill(os.getpid(), signal.SIGSEGV)
    return answer(request, sessions)
worker._answer = deadly
"""
FULL = ("ORT_ENABLE_ALL",)
EVERY = ("ORT_ENABLE_ALL", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_BASIC", "ORT_DISABLE_ALL")
RUNS = {"slim": [], "dynamic": ["--dynq"], "fp16": ["--fp16"]}


def make_deadly(
    monkeypatch: pytest.MonkeyPatch,
    space: Workspace,
    levels: tuple[str, ...],
    first: int = 1,
    holds: bytes = b"",
) -> None:
    """Let onnxruntime die of every model that it loads at these levels, from the given one on.

    With `holds`, only of those that hold some bytes.
    """
    counter = str(space.folder.parent / "loads")
    head, serve = isolated._BOOT.rsplit("\nfrom", 1)
    code = DEADLY.format(levels=levels, first=first, holds=holds, counter=counter)
    monkeypatch.setattr(isolated, "_BOOT", f"{head}\n{code}\nfrom{serve}")


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path / "space")


def arguments(space: Workspace, run: str) -> list[str]:
    if run == "static":
        return ["-c", str(space.write_config())]
    return ["-i", str(space.model), "-o", str(space.output / "net.onnx"), *RUNS[run]]


@pytest.mark.parametrize("run", [*RUNS, "static"])
def test_what_lives_with_less_optimisation_is_written_with_a_warning(
    run: str, space: Workspace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # Calibration itself runs at full optimisation, so there only the result may need less.
    make_deadly(monkeypatch, space, FULL, holds=b"QuantizeLinear" if run == "static" else b"")
    assert main(arguments(space, run)) == 0
    warnings = [line for line in capfd.readouterr().err.splitlines() if "warning" in line]
    died = [line for line in warnings if re.search("SIGSEGV.*lives.*ORT_ENABLE_EXTENDED", line)]
    assert any("the float model" in line for line in died) == (run != "static")
    assert any("the converted model" in line or "the quantised model" in line for line in died)
    assert len(list(space.output.glob("*.onnx"))) == 1


@pytest.mark.parametrize(
    ("run", "first"), [("slim", 1), ("fp16", 2), ("static", 1), ("static", 2), ("static", 3)]
)
def test_what_always_dies_is_one_error_and_leaves_nothing(
    run: str,
    first: int,
    space: Workspace,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    make_deadly(monkeypatch, space, EVERY, first)
    status = main(arguments(space, run))
    error = capfd.readouterr().err.splitlines()[-1]
    assert status in (1, 2)
    assert "error: " in error
    assert "SIGSEGV" in error
    assert list(space.folder.rglob("*.onnx")) == [space.model]
    assert not list(space.folder.rglob(".xslim-*"))


ORDERS = [[1, 0, 2], [1, 0], [0, 2, 1], [2, 1, 0], [2, 1, 0, 3], [0, 2, 1, 3]]


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_transposed_products_survive_float16(order: list[int], tmp_path: Path) -> None:
    """Some releases of onnxruntime die of them, as attention with the batch in the middle has them."""
    shape = [2, 3, 4, 16][: len(order)]
    last = shape[order[-1]]
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=order),
        helper.make_node("MatMul", ["t", "w"], ["m"]),
        helper.make_node("Transpose", ["m"], ["y"], perm=[order.index(axis) for axis in range(len(order))]),
    ]
    outputs = {"y": [f"d{axis}" for axis in range(len(order))]}
    proto = model(nodes, {"x": shape}, outputs, {"w": draw(0, last, 16)})
    found = xslim.convert_fp16(save(proto, tmp_path / "in.onnx"), tmp_path / "out.onnx")
    assert found == onnx.load(tmp_path / "out.onnx")
