"""Test data for the board can be read back; dumps show the first wrong tensor; profiles are summed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import xslim
from tests import models
from tests.library.test_data import images
from xslim.cli import main
from xslim.runtime import Session


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    np.savez(folder / "data.npz", x=images())
    xslim.quantize(models.conv_net("n"), images(24), output=folder / "net.onnx", analysis_enable=False)
    return folder / "net.onnx"


@pytest.fixture
def exported(model: Path, tmp_path: Path) -> Path:
    data = str(model.parent / "data.npz")
    folder = tmp_path / "board"
    assert main(["board", "export", str(model), "--data", data, "-o", str(folder), "--quiet"]) == 0
    return folder


def read(path: Path) -> np.ndarray:
    return numpy_helper.to_array(onnx.load_tensor(path))


def test_the_exported_files_give_the_same_outputs(exported: Path, model: Path) -> None:
    assert sorted(path.name for path in exported.iterdir()) == [
        "README.md", "net.onnx", "test_data_0", "test_data_1",
    ]  # fmt: skip
    assert (exported / "net.onnx").read_bytes() == model.read_bytes()
    session = Session(exported / "net.onnx", qdq_as_written=True)
    for number in range(2):
        place = exported / f"test_data_{number}"
        x = read(place / "input_0.pb")
        assert np.array_equal(x, images()[number : number + 1])
        assert np.array_equal(session.run({"x": x})[0], read(place / "output_0.pb"))
    commands = (exported / "README.md").read_text("utf-8")
    assert all(
        tool in commands for tool in ("onnx_test_runner board", "onnxruntime_perf_test", "DUMP_TENSORS")
    )


def test_a_folder_with_files_is_not_touched(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("important", "utf-8")
    assert main(["board", "export", str(model), "-o", str(tmp_path)]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def dump(path: Path, folder: Path, x: np.ndarray) -> None:
    """Write the inner tensors as the provider does."""
    folder.mkdir(exist_ok=True)
    graph = onnx.load(path).graph
    names = [name for node in graph.node for name in node.output]
    shown = onnx.load(path)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    found = Session(shown.SerializeToString(), names, qdq_as_written=True).run({"x": x})
    for name, array in zip(names, found, strict=True):
        np.save(folder / f"{name.replace('/', '_')}.npy", array)


def test_equal_dumps_do_not_part(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dump(exported / "net.onnx", exported / "dumps", images(1))
    command = ["board", "compare", str(exported / "dumps"), "--model", str(exported / "net.onnx")]
    assert main(command) == 0
    assert "no tensor is below 30 dB" in capsys.readouterr().out


def test_the_first_wrong_tensor_is_found(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = onnx.load(exported / "net.onnx")
    scale = next(item for item in other.graph.initializer if item.name == "w2_scale")
    changed = numpy_helper.to_array(scale) * 3
    scale.CopyFrom(numpy_helper.from_array(changed, "w2_scale"))
    onnx.save(other, tmp_path / "other.onnx")
    dump(tmp_path / "other.onnx", exported / "dumps", images(1))
    command = ["board", "compare", str(exported / "dumps"), "--model", str(exported / "net.onnx")]
    page = tmp_path / "board.html"
    assert main([*command, "--json", "-o", str(page)]) == 1
    rows = json.loads(capsys.readouterr().out)
    assert [row["depth"] for row in rows] == sorted(row["depth"] for row in rows)
    wrong = [row for row in rows if row["sqnr_db"] is not None and row["sqnr_db"] < 30]
    html = page.read_text("utf-8")
    assert f"is <b>{wrong[0]['tensor']}</b>" in html
    assert html.count("<circle") == len(rows)
    assert wrong[0]["tensor"] == "w2_dequantized"
    assert main(command) == 1
    assert "<- board and PC part here" in capsys.readouterr().out


def test_wrong_dumps(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["board", "compare", str(tmp_path / "none"), "--model", str(exported / "net.onnx")]
    assert main(command) == 2
    np.save(tmp_path / "stranger.npy", images(1))
    assert main(["board", "compare", str(tmp_path), "--model", str(exported / "net.onnx")]) == 2
    assert "has the name of a tensor" in capsys.readouterr().err
    dump(exported / "net.onnx", tmp_path / "dumps", images(2))
    assert main(["board", "compare", str(tmp_path / "dumps"), "--model", str(exported / "net.onnx")]) == 2
    assert "has the shape" in capsys.readouterr().err
    shutil.rmtree(exported / "test_data_0")
    assert main(["board", "compare", str(tmp_path / "dumps"), "--model", str(exported / "net.onnx")]) == 2
    assert "no sample is named" in capsys.readouterr().err


EVENTS = [
    {"ph": "M", "name": "process_name", "args": {"name": "ort"}},
    {"ph": "X", "name": "conv1", "ts": 0, "dur": 1500, "args": {"op_name": "Conv", "provider": "SpaceMIT"}},
    {"ph": "X", "name": "conv1", "ts": 2000, "dur": 500, "args": {"op_name": "Conv", "provider": "SpaceMIT"}},
    {"ph": "B", "name": "nms", "ts": 10, "pid": 1, "tid": 2, "cat": "NonMaxSuppression"},
    {"ph": "E", "name": "nms", "ts": 4010, "pid": 1, "tid": 2, "cat": "NonMaxSuppression"},
    {"ph": "X", "ts": 3},
    "not an event",
]


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_profile_is_summed(tmp_path: Path, capsys: pytest.CaptureFixture[str], wrapped: bool) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"traceEvents": EVENTS} if wrapped else EVENTS), "utf-8")
    assert main(["board", "profile", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["milliseconds"] == pytest.approx(6.0)
    assert found["by_operator"] == {"nms": 4.0, "conv1": 2.0}
    assert found["by_type"] == {"NonMaxSuppression": 4.0, "Conv": 2.0}
    assert found["by_provider"] == {"unknown": 4.0, "SpaceMIT": 2.0}
    assert found["not_understood"] == 2
    assert main(["board", "profile", str(path)]) == 0
    assert "66.7%  nms" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"traceEvents": 3}', '[{"ph": "B", "name": "a", "ts": 1}]']
)
def test_a_file_that_is_no_profile(tmp_path: Path, text: str) -> None:
    path = tmp_path / "profile.json"
    path.write_text(text, "utf-8")
    assert main(["board", "profile", str(path)]) == 2
