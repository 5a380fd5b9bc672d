"""Tests of the corpus: which results fail it, and what it reports about a failure."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tools.corpus import record, samples
from tools.corpus.__main__ import main
from tools.corpus.judge import compare, try_original
from tools.corpus.models import tomllib, write_backend_models
from tools.corpus.process import ESCAPED, Limits, run
from tools.corpus.record import Row, changes
from tools.corpus.samples import Input, Recipe

from tests.models import conv_net, draw, model

ROOT = Path(__file__).parents[2]
LIMITS = Limits(seconds=20, megabytes=8192)


def scaled(factor: float) -> onnx.ModelProto:
    """Return a model that multiplies by a constant."""
    weights = {"w": np.full(4, factor, np.float32)}
    return model(
        [helper.make_node("Mul", ["x", "w"], ["y"], name="mul")], {"x": [1, 4]}, {"y": [1, 4]}, weights
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One model that runs, in a folder below; one file that is no model."""
    (tmp_path / "models" / "below").mkdir(parents=True)
    onnx.save(conv_net(), tmp_path / "models" / "below" / "good.onnx")
    (tmp_path / "models" / "hostile.onnx").write_bytes(b"\x08\x07 no model")
    return tmp_path / "models"


def test_good_model_runs_and_hostile_one_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jsonl = tmp_path / "record.jsonl"
    assert main([str(folder), "--record", str(jsonl)]) == 0
    printed = capsys.readouterr().out
    rows = {(row.model, row.command): row for row in record.read(jsonl)}
    for command in ("slim", "dynq", "fp16", "plan", "check", "static"):
        good = rows["below/good", command]
        assert good.outcome == record.OK, good
        assert good.status == (1 if command == "check" else 0)
        assert good.seconds > 0
        assert good.peak_megabytes > 10
    assert rows["below/good", "slim"].decibels > 80
    assert 15 < rows["below/good", "static"].decibels < 60
    assert {rows["hostile", command].status for command in ("slim", "dynq", "fp16", "check")} == {2}
    assert rows["hostile", "static"].outcome == record.SKIPPED
    assert "xslim: error" in rows["hostile", "slim"].message
    assert "| below/good | 0 " in printed
    assert "2 models, 12 runs" in printed
    assert not [path for path in folder.rglob("*") if path.suffix != ".onnx" and path.is_file()]


def wrong_model(arguments: list[str]) -> int:
    onnx.save(scaled(3.0), arguments[arguments.index("-o") + 1])
    return 0


def renamed_output(arguments: list[str]) -> int:
    result = scaled(2.0)
    result.graph.output[0].name = result.graph.node[0].output[0] = "z"
    onnx.save(result, arguments[arguments.index("-o") + 1])
    return 0


def no_model(arguments: list[str]) -> int:
    Path(arguments[arguments.index("-o") + 1]).write_bytes(b"nothing")
    return 0


def half_written(arguments: list[str]) -> int:
    Path(arguments[arguments.index("-o") + 1]).write_bytes(b"half")
    return 2


def printed_traceback(arguments: list[str]) -> int:
    print("Traceback (most recent call last):")
    return 0


def changed_input(arguments: list[str]) -> int:
    onnx.save(scaled(4.0), arguments[arguments.index("-i") + 1])
    return 2


@pytest.mark.parametrize(
    ("program", "outcome"),
    [
        (wrong_model, record.DIFFERS),
        (renamed_output, record.BROKEN),
        (no_model, record.BROKEN),
        (half_written, record.LEFT),
        (changed_input, record.LEFT),
        (printed_traceback, record.TRACEBACK),
        (lambda arguments: 1, record.INTERNAL),
        (lambda arguments: 7, record.INTERNAL),
        (lambda arguments: os.kill(os.getpid(), signal.SIGSEGV), record.CRASH),
        (lambda arguments: 1 // 0, record.CRASH),
        (lambda arguments: time.sleep(60), record.TIMEOUT),
    ],
)
def test_what_fails_the_corpus(
    program: Callable[[list[str]], int],
    outcome: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "models").mkdir()
    onnx.save(scaled(2.0), tmp_path / "models" / "twice.onnx")
    monkeypatch.setattr("tools.corpus.work._command_line", program)
    seconds = "1" if outcome == record.TIMEOUT else "20"
    assert main([str(tmp_path / "models"), "--commands", "slim", "--seconds", seconds]) == 1
    assert f"twice slim: {outcome}" in capsys.readouterr().out


def test_every_job_has_a_process_of_its_own(tmp_path: Path) -> None:
    def job(action: Callable[[], int], limits: Limits = LIMITS) -> int | None:
        return run(action, tmp_path / "log.txt", limits, tmp_path).status

    assert job(lambda: 3) == 3
    assert job(lambda: os.abort()) == -signal.SIGABRT
    assert job(lambda: len(bytearray(4 << 30)), Limits(20, 2048)) == ESCAPED
    assert "MemoryError" in (tmp_path / "log.txt").read_text()
    started = time.monotonic()
    assert job(lambda: time.sleep(60), Limits(0.2)) is None
    assert time.monotonic() - started < 20


def test_costs_are_those_of_the_job(tmp_path: Path) -> None:
    def job() -> int:
        time.sleep(0.2)
        return int(np.ones(64 << 20, np.uint8)[0]) - 1

    ended = run(job, tmp_path / "log.txt", LIMITS, tmp_path)
    assert ended.status == 0
    assert 0.2 <= ended.seconds < 20
    assert ended.peak_megabytes >= 64


def test_figures_are_those_of_a_plain_computation(tmp_path: Path) -> None:
    for name, factor in (("a", 2.0), ("b", 2.02)):
        onnx.save(scaled(factor), tmp_path / f"{name}.onnx")
    sample = {"x": np.array([[1, -2, 3, 4]], np.float32)}
    found = compare(tmp_path / "a.onnx", tmp_path / "b.onnx", [sample])
    assert found.fault == ""
    assert found.difference == pytest.approx(0.01, rel=1e-4)
    assert found.decibels == pytest.approx(40.0, abs=1e-2)


def test_values_that_are_not_finite_are_a_fault(tmp_path: Path) -> None:
    for name, factor in (("a", 2.0), ("b", np.inf)):
        onnx.save(scaled(factor), tmp_path / f"{name}.onnx")
    found = compare(tmp_path / "a.onnx", tmp_path / "b.onnx", [{"x": np.ones((1, 4), np.float32)}])
    assert "not finite" in found.fault


def test_given_samples_are_taken(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for index in range(11):
        np.savez(data / f"good.{index}.npz", x=draw(index, 1, 3, 8, 8))
    np.savez(data / "good.npz", x=draw(99, 1, 3, 8, 8))
    assert len(samples.given(folder / "below" / "good.onnx", data)) == 12
    assert main([str(folder), "--only", "*good*", "--commands", "static", "--data", str(data)]) == 0
    assert "| below/good | 0 " in capsys.readouterr().out


def test_random_samples_fit_the_model(tmp_path: Path) -> None:
    """Ids stay below the size of a table, a name has one size, scalars and states in the middle work."""
    weights = {"table": draw(1, 3, 8), "shape": np.array([1, -1, 8], np.int64)}
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="gather"),
        helper.make_node("Add", ["rows", "state"], ["moved"], name="add"),
        helper.make_node("Mul", ["moved", "gain"], ["y"], name="mul"),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "net",
        [
            value("ids", TensorProto.INT64, ["batch", "time"]),
            value("state", TensorProto.FLOAT, [1, "one", 8]),
            value("gain", TensorProto.FLOAT, []),
        ],
        [value("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, tmp_path / "net.onnx")
    original = try_original(tmp_path / "net.onnx", [], "seed")
    assert original.runs, original.why
    assert original.repeats
    assert original.recipe is not None
    assert original.recipe.bound < 8
    sample = samples.draw(original.inputs, original.recipe, "seed")
    assert sample is not None
    assert sample["ids"].max() < 3
    assert sample["gain"].shape == ()


def test_samples_repeat_and_differ_by_seed() -> None:
    declared = [Input("x", "tensor(float)", ["batch", 3, "size", "size"])]
    first, again, other = (samples.draw(declared, Recipe(), seed) for seed in ("a", "a", "b"))
    assert first is not None
    assert again is not None
    assert other is not None
    assert first["x"].shape == (1, 3, 16, 16)
    assert np.array_equal(first["x"], again["x"])
    assert not np.array_equal(first["x"], other["x"])


def test_huge_inputs_are_not_drawn() -> None:
    assert samples.draw([Input("x", "tensor(float)", [1 << 40, 1 << 40])], Recipe(), "a") is None


def test_two_runs_are_compared(tmp_path: Path) -> None:
    before = [Row("m", "slim", record.OK, 0, 1.0, decibels=60.0), Row("m", "static", record.OK, 0, 1.0)]
    after = [Row("m", "slim", record.OK, 0, 9.0, decibels=30.0), Row("m", "static", record.CRASH, -11, 1.0)]
    assert list(changes(before, after)) == [
        "m slim: 60.0 dB -> 30.0 dB",
        "m slim: 1.0 s -> 9.0 s",
        "m static: ok -> crash",
    ]
    assert list(changes(after, after)) == []
    file = tmp_path / "rows.jsonl"
    rows = [*after, Row("n", "slim", record.DIFFERS, 0, difference=float("inf"))]
    file.write_text("".join(f"{row.line()}\n" for row in rows))
    assert list(record.read(file)) == rows
    assert all(json.loads(line, parse_constant=pytest.fail) for line in file.read_text().splitlines())


@pytest.mark.parametrize(
    "arguments", [["/no/such/folder"], [".", "--commands", "slim,fast"], [".", "--part", "3/2"]]
)
def test_wrong_arguments(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)


def test_folder_without_models(tmp_path: Path) -> None:
    assert main([str(tmp_path)]) == 2


def test_backend_models_come_with_their_inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cases that onnx generates (one stands for them, to be quick), and those that lie in its package."""
    x = draw(1, 1, 4)
    case = SimpleNamespace(name="test_mul", model=scaled(2.0), data_sets=[([x], [x * 2])])
    monkeypatch.setattr("onnx.backend.test.loader.load_model_tests", lambda kind: [case])
    write_backend_models(tmp_path)
    (sample,) = samples.given(tmp_path / "node" / "test_mul.onnx", tmp_path / "node")
    assert np.array_equal(sample["x"], x)
    linear = next(tmp_path.rglob("test_Linear.onnx"))
    assert samples.given(linear, linear.parent)
    assert main([str(tmp_path), "--only", "node/*", "--commands", "slim"]) == 0


def test_packages_are_pinned_and_name_their_models() -> None:
    listed = tomllib.loads((ROOT / "tools" / "corpus" / "packages.toml").read_text())
    assert listed
    for package, wanted in listed.items():
        assert set(wanted) == {"version", "models"}, package
        assert all(pattern.endswith("*.onnx") for pattern in wanted["models"]), package


def test_noise_of_the_original_is_measured(tmp_path: Path) -> None:
    """Folding a normalisation into a convolution rounds otherwise; a large mean makes that visible."""
    size = np.ones(4, np.float32)
    weights = {"w": draw(1, 4, 3, 1, 1), "b": size * 1e5, "scale": size, "bias": size, "mean": size * 1e5}
    weights["var"] = size
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv"),
        helper.make_node("BatchNormalization", ["c", "scale", "bias", "mean", "var"], ["y"], name="norm"),
    ]
    path = tmp_path / "net.onnx"
    onnx.save(model(nodes, {"x": [1, 3, 4, 4]}, {"y": [1, 4, 4, 4]}, weights), path)
    found = compare(path, path, [{"x": draw(3, 1, 3, 4, 4)}])
    assert found.difference == 0
    assert 1e-4 < found.noise < 0.1
