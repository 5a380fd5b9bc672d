"""A model in a child process gives the same values and errors, and a crash of it raises an error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import ModelProto, TensorProto, helper, parser

from xslim.errors import CrashError, LimitError, ModelError
from xslim.runtime import Isolated, Session, with_less_optimisation

PATIENCE = 60

ENDLESS = """
    <ir_version: 8, opset_import: ["" : 17]>
    endless (int64 trips, float[n] x) => (float[n] y) {
        y = Loop (trips, , x) <body = body (int64 i, bool going, float[n] a) => (bool on, float[n] b) {
            on = Identity (going)
            b = Sin (a)
        }>
    }
"""
FEEDS = {"trips": np.array(2**24), "x": np.ones(4, np.float32)}


def model(text: str) -> bytes:
    proto: ModelProto = parser.parse_model(text)
    return proto.SerializeToString()


def texts_and_maps() -> bytes:
    """A model of strings, numbers without dimensions, nothing, and a sequence of maps."""
    nodes = [
        helper.make_node("Identity", ["s"], ["t"]),
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["x", "sum"], ["above"]),
        helper.make_node("NonZero", ["above"], ["where"]),
        helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16),
        helper.make_node("ZipMap", ["x"], ["maps"], domain="ai.onnx.ml", classlabels_strings=["a", "b"]),
    ]
    inputs = [
        helper.make_tensor_value_info("s", TensorProto.STRING, ["n"]),
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2]),
    ]
    outputs = [helper.make_empty_tensor_value_info(name) for node in nodes for name in node.output]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    data: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return data


def with_weights() -> ir.Model:
    found = ir.from_onnx_text("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[3, 100] x) => (float[3, 200] y) { y = MatMul (x, w) }
    """)
    array = np.random.default_rng(0).standard_normal((100, 200)).astype(np.float32)
    value = ir.Value(name="w", const_value=ir.Tensor(array, name="w"))
    found.graph.register_initializer(value)
    found.graph.node(0).replace_input_with(1, value)
    return found


def test_values_of_all_kinds_are_those_of_a_session() -> None:
    data = texts_and_maps()
    feeds = {
        "s": np.array(["", "é", "日本"], dtype=object),
        "x": np.array([[1, -2], [np.inf, 3], [4, np.nan]], np.float32),
    }
    with Isolated() as isolated:
        remote = isolated.session(data)
        assert remote.outputs == Session(data).outputs
        for found, expected in zip(remote.run(feeds), Session(data).run(feeds), strict=True):
            assert type(found) is type(expected)
            if isinstance(expected, np.ndarray):
                assert found.dtype == expected.dtype
            np.testing.assert_equal(found, expected)


def test_weights_and_files_reach_the_child(tmp_path: Path) -> None:
    whole = with_weights()
    file = tmp_path / "model.onnx"
    ir.save(whole, file)
    feeds = {"x": np.ones((3, 100), np.float32)}
    expected = Session(whole, threads=1).run(feeds)
    with Isolated() as isolated:
        for source in (whole, file):
            np.testing.assert_array_equal(isolated.session(source, ["y"], threads=1).run(feeds), expected)


def test_refusals_read_as_those_of_a_session() -> None:
    data = model(ENDLESS)
    wrong = {"trips": np.array(1), "x": np.ones((2, 2), np.float32)}
    with Isolated() as isolated:
        for make in (isolated.session, Session):
            with pytest.raises(ModelError, match="cannot load"):
                make(b"\x08\x01")
        with pytest.raises(ModelError, match="cannot run") as remote:
            isolated.session(data).run(wrong)
        with pytest.raises(ModelError) as local:
            Session(data).run(wrong)
    assert (remote.value.what, remote.value.hint) == (local.value.what, local.value.hint)


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize("name", ["SIGSEGV", "SIGABRT", "SIGFPE", "SIGKILL", "SIGTERM"])
def test_its_death_is_an_error_with_the_cause_and_a_new_child_follows(name: str) -> None:
    data = model(ENDLESS)
    with Isolated() as isolated:
        session = isolated.session(data)
        pid = isolated.pid
        assert pid is not None
        timer = threading.Timer(0.2, os.kill, (pid, signal.Signals[name]))
        timer.start()
        with pytest.raises(CrashError, match=name):
            session.run(FEEDS)
        (value,) = isolated.session(data, ["y"]).run({**FEEDS, "trips": np.array(0)})
        np.testing.assert_array_equal(value, FEEDS["x"])
        assert isolated.pid != pid


def test_a_run_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XSLIM_RUN_SECONDS", "1")
    with Isolated() as isolated:
        started = time.monotonic()
        with pytest.raises(LimitError, match="more than 1 seconds"):
            isolated.session(model(ENDLESS)).run(FEEDS)
        assert time.monotonic() - started < PATIENCE


@pytest.mark.skipif(sys.platform != "linux", reason="limits of what a process allocates")
@pytest.mark.parametrize("elements", [2**29, 2**40])
def test_a_run_that_takes_too_much_memory_is_an_error(elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XSLIM_RUN_MB", "1024")
    data = model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (int64[n] shape) => (float[m] y) { y = ConstantOfShape (shape) }
    """)
    with Isolated() as isolated:
        with pytest.raises(LimitError, match="memory") as caught:
            isolated.session(data).run({"shape": np.array([elements])})
        assert "XSLIM_RUN_MB" in str(caught.value)
        assert isolated.session(data).run({"shape": np.array([2])})[0].shape == (2,)


ORPHAN = """
import signal, sys, numpy as np
from pathlib import Path
from xslim.runtime import Isolated
# A shell starts background jobs with SIGINT ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
isolated = Isolated()
session = isolated.session(Path(sys.argv[1]))
print(isolated.pid, flush=True)
session.run({"trips": np.array(2**24), "x": np.ones(4, np.float32)})
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc")
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_the_child_ends_with_its_parent(name: str, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(model(ENDLESS))
    parent = subprocess.Popen(
        [sys.executable, "-c", ORPHAN, str(file)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.send_signal(signal.Signals[name])
    parent.wait(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def test_without_processes_models_run_in_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    feeds = {**FEEDS, "trips": np.array(0)}
    for executable in ("/nowhere/python", "/bin/false", None):
        monkeypatch.setattr(sys, "executable", executable)
        with Isolated() as isolated:
            np.testing.assert_array_equal(isolated.session(model(ENDLESS), ["y"]).run(feeds)[0], FEEDS["x"])


def test_a_death_is_followed_by_runs_with_less_and_less_optimisation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tried: list[str] = []

    def attempt(optimisation: str, lives_with: str) -> str:
        tried.append(optimisation)
        if optimisation != lives_with:
            raise CrashError(f"died of SIGSEGV at {optimisation}")
        return optimisation

    assert with_less_optimisation(lambda level: attempt(level, "ORT_ENABLE_ALL"), "it") == "ORT_ENABLE_ALL"
    assert not caplog.messages
    tried.clear()
    assert with_less_optimisation(lambda level: attempt(level, "ORT_DISABLE_ALL"), "it") == "ORT_DISABLE_ALL"
    assert len(tried) == 4
    assert caplog.messages == [
        "it: died of SIGSEGV at ORT_ENABLE_ALL; it lives with the optimisation level ORT_DISABLE_ALL"
    ]
    with pytest.raises(CrashError, match="ORT_ENABLE_ALL"):
        with_less_optimisation(lambda level: attempt(level, "none"), "it")
