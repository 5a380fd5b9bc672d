"""The configuration that ``xslim init`` writes loads, suits the model and runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests import models
from xslim.cli import main
from xslim.config import Config, load_config


def classifier(classes: int = 1000) -> onnx.ModelProto:
    weights = {"w": models.draw(1, 4, 3, 3, 3), "v": models.draw(2, classes, 4)}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("GlobalAveragePool", ["c"], ["g"], name="gap"),
        helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "v"], ["y"], name="fc", transB=1),
    ]
    return models.model(nodes, {"x": ["batch", 3, 16, 16]}, {"y": ["batch", classes]}, weights)


def encoder() -> onnx.ModelProto:
    """Two inputs of tokens."""
    weights = {"table": models.draw(1, 20, 8), "w": models.draw(2, 8, 4)}
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["e"], name="embed"),
        helper.make_node("Gather", ["table", "type_ids"], ["t"], name="types"),
        helper.make_node("Add", ["e", "t"], ["s"], name="sum"),
        helper.make_node("MatMul", ["s", "w"], ["y"], name="product"),
    ]
    inputs = {"input_ids": ["batch", "length"], "type_ids": ["batch", "length"]}
    outputs = {"y": ["batch", "length", 4]}
    return models.model(nodes, inputs, outputs, weights, input_type=TensorProto.INT64)


def pictures(folder: Path, count: int = 12) -> Path:
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for index in range(count):
        picture = generator.integers(0, 256, (20, 30, 3)).astype(np.uint8)
        assert cv2.imwrite(str(folder / f"{index:02d}.jpg"), picture)
    return folder


def init(folder: Path, proto: onnx.ModelProto, *arguments: str) -> Config:
    models.save(proto, folder / "net.onnx")
    target = folder / "start.json"
    assert main(["init", str(folder / "net.onnx"), "-o", str(target), *arguments]) == 0
    return load_config(target)


def entries(config: Config) -> tuple[Any, ...]:
    return config.calibration_parameters.input_parameters


def test_pictures_for_a_classifier_of_imagenet(tmp_path: Path) -> None:
    config = init(tmp_path, classifier(), "--data", str(pictures(tmp_path / "pictures")))
    (entry,) = entries(config)
    assert (entry.input_name, entry.file_type, entry.color_format) == ("x", "img", "rgb")
    assert entry.preprocess_file == "PT_IMAGENET"
    lines = (tmp_path / "start_x.txt").read_text("utf-8").splitlines()
    assert lines == [f"pictures/{index:02d}.jpg" for index in range(12)]
    assert config.quantization_parameters.precision_level == 0


def test_the_configuration_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    init(tmp_path, classifier(10), "--data", str(pictures(tmp_path / "pictures")))
    monkeypatch.chdir("/")
    assert main(["-c", str(tmp_path / "start.json"), "--quiet"]) == 0
    assert (tmp_path / "net.q.onnx").exists()
    assert (tmp_path / "net.q_report.html").exists()


def test_arrays(tmp_path: Path) -> None:
    models.write_samples(tmp_path / "arrays", (1, 3, 16, 16), 3)
    (entry,) = entries(init(tmp_path, classifier(), "--data", str(tmp_path / "arrays")))
    assert (entry.file_type, entry.dtype, entry.mean_value) == ("npy", "float32", None)


@pytest.mark.parametrize("named", [True, False])
def test_tokens_with_a_folder_for_each_input(tmp_path: Path, named: bool) -> None:
    for name in ("input_ids", "type_ids"):
        (tmp_path / "tokens" / name).mkdir(parents=True)
        np.save(tmp_path / "tokens" / name / "0.npy", np.zeros((1, 128), np.int64))
    data = [f"input_ids={tmp_path / 'tokens' / 'input_ids'}", f"type_ids={tmp_path / 'tokens' / 'type_ids'}"]
    arguments = (
        [item for text in data for item in ("--data", text)]
        if named
        else ["--data", str(tmp_path / "tokens")]
    )
    config = init(tmp_path, encoder(), *arguments)
    assert [(entry.input_name, entry.dtype) for entry in entries(config)] == [
        ("input_ids", "int64"),
        ("type_ids", "int64"),
    ]
    assert entries(config)[0].input_shape == (1, 128)
    assert config.quantization_parameters.precision_level == 2
    assert (tmp_path / "start_type_ids.txt").read_text("utf-8") == "tokens/type_ids/0.npy\n"


def test_without_data_the_lists_are_left_to_fill_in(tmp_path: Path) -> None:
    config = init(tmp_path, encoder())
    assert [entry.data_list_path for entry in entries(config)] == [
        "calibration/input_ids.txt",
        "calibration/type_ids.txt",
    ]
    assert "CHECK" in (tmp_path / "start.json").read_text("utf-8")


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init(tmp_path, classifier())
    before = (tmp_path / "start.json").read_bytes()
    data = str(pictures(tmp_path / "pictures"))
    assert main(["init", str(tmp_path / "net.onnx"), "-o", str(tmp_path / "start.json"), "--data", data]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "start.json").read_bytes() == before
    assert not (tmp_path / "start_x.txt").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "no such folder"),
        (lambda folder: folder.mkdir(), "no calibration file"),
        (lambda folder: (pictures(folder), np.save(folder / "a.npy", np.zeros(3))), "mixes img and npy"),
    ],
)
def test_bad_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str], make: Any, message: str) -> None:
    models.save(classifier(), tmp_path / "net.onnx")
    make(tmp_path / "data")
    arguments = ["--data", str(tmp_path / "data"), "-o", str(tmp_path / "start.json")]
    assert main(["init", str(tmp_path / "net.onnx"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "start.json").exists()


def test_one_folder_cannot_feed_several_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models.save(encoder(), tmp_path / "net.onnx")
    assert main(["init", str(tmp_path / "net.onnx"), "--data", str(tmp_path)]) == 2
    assert "input_ids, type_ids" in capsys.readouterr().err


DETECTOR = """<ir_version: 8, opset_import: ["" : 17]> net (float[1,3,8,8] x) => (int64[N,3] chosen%s) {
    m = Conv <kernel_shape=[1,1]> (x, w)
    n = Conv <kernel_shape=[1,1]> (x, v)
    four = Constant <value_ints = [1, 64, 4]> ()
    one = Constant <value_ints = [1, 1, 64]> ()
    boxes = Reshape(m, four)
    scores = Reshape(n, one)
    chosen = NonMaxSuppression(boxes, scores)
    %s
}"""


@pytest.mark.parametrize(
    ("output", "node", "cut"),
    [
        ("", "", ("boxes", "scores")),
        (", float[1,64,4] y", "y = Mul(boxes, again)", ()),
    ],
)
def test_a_cut_before_non_maximum_suppression_is_proposed(
    tmp_path: Path, output: str, node: str, cut: tuple[str, ...]
) -> None:
    text = DETECTOR % (output, node)
    # The second model uses the layer's result on both sides of the cut.
    proto = onnx.parser.parse_model(text.replace("scores = R", "again = Reshape(m, four)\n    scores = R"))
    weights = {"w": models.draw(1, 4, 3, 1, 1), "v": models.draw(2, 1, 3, 1, 1)}
    proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    assert init(tmp_path, proto).quantization_parameters.truncate_var_names == cut


def test_a_quantised_model_is_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models.save(models.quantised_net(), tmp_path / "net.q.onnx")
    assert main(["init", str(tmp_path / "net.q.onnx"), "-o", str(tmp_path / "net.json")]) == 2
    assert "the model is quantised already" in capsys.readouterr().err
    assert not (tmp_path / "net.json").exists()


def test_files_that_are_no_samples_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = pictures(tmp_path / "pictures")
    for name in ("a.gif", "b.GIF", "readme.txt", ".hidden"):
        (folder / name).write_bytes(b"x")
    init(tmp_path, classifier(), "--data", str(folder))
    assert f"{folder}: 3 files of other kinds are left out: .gif, .txt" in capsys.readouterr().err


def test_a_folder_without_samples_hears_of_all_kinds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    model = models.save(classifier(), tmp_path / "net.onnx")
    assert main(["init", str(model), "-o", str(tmp_path / "a.json"), "--data", str(tmp_path / "empty")]) == 2
    error = capsys.readouterr().err
    assert "holds no calibration file (known are" in error
    assert all(f" {ending}" in error for ending in (".npz", ".npy", ".wav", ".jpg", ".bin"))
