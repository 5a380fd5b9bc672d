"""``xslim init`` takes arrays, bytes, lists and waveforms, fills the other inputs, and tries the result."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests import models
from xslim.calibration.data import CalibrationData
from xslim.cli import main
from xslim.config import Config, load_config
from xslim.graph.inputs import input_specs
from xslim.graph.io import load_model

RANDOM = np.random.default_rng(0)


def tokens(*names: str) -> onnx.ModelProto:
    """A sum of embeddings of inputs of tokens of any length."""
    weights = {"table": models.draw(1, 20, 8), "w": models.draw(2, 8, 4)}
    nodes = [helper.make_node("Gather", ["table", name], [f"e_{name}"]) for name in names]
    nodes += [
        helper.make_node("Sum", [f"e_{name}" for name in names], ["s"]),
        helper.make_node("MatMul", ["s", "w"], ["y"], name="product"),
    ]
    inputs = {name: ["batch", "length"] for name in names}
    return models.model(nodes, inputs, {"y": ["batch", "length", 4]}, weights, input_type=TensorProto.INT64)


def recurrent(length: int | None = 600) -> onnx.ModelProto:
    """A step of a recurrent network with a state and a sampling rate."""
    size = 600 if length is None else length
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="product"),
        helper.make_node("Add", ["m", "state"], ["a"], name="sum"),
        helper.make_node("Tanh", ["a"], ["stateN"], name="next"),
        helper.make_node("Cast", ["sr"], ["f"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Div", ["stateN", "f"], ["y"], name="scale"),
    ]
    inputs: dict[str, Any] = {"x": ["n", length or "time"], "state": ["n", 4], "sr": []}
    proto = models.model(nodes, inputs, {"y": ["n", 4], "stateN": ["n", 4]}, {"w": models.draw(1, size, 4)})
    proto.graph.input[2].type.tensor_type.elem_type = TensorProto.INT64
    return proto


def flat(shape: list[Any]) -> onnx.ModelProto:
    """A network that takes an input of any shape."""
    nodes = [helper.make_node("Mul", ["x", "two"], ["y"], name="double")]
    return models.model(nodes, {"x": shape}, {"y": shape}, {"two": np.float32([2.0])})


def init(folder: Path, proto: onnx.ModelProto, *data: object, status: int = 0) -> Config:
    models.save(proto, folder / "net.onnx")
    options = [text for item in data for text in ("--data", str(item))]
    target = folder / "start.json"
    assert main(["init", str(folder / "net.onnx"), "-o", str(target), *options]) == status
    return load_config(target)


def samples(folder: Path, config: Config) -> list[dict[str, np.ndarray]]:
    """What a run would feed."""
    specs = input_specs(load_model(folder / "net.onnx"))
    return list(CalibrationData(specs, config.calibration_parameters, config.base_dir).samples())


def entry(config: Config, name: str) -> Any:
    return next(item for item in config.calibration_parameters.input_parameters if item.input_name == name)


def sounds(folder: Path, count: int = 3, rate: int = 16000) -> Path:
    folder.mkdir()
    for index in range(count):
        with wave.open(str(folder / f"{index}.wav"), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(RANDOM.integers(-9000, 9000, 900).astype("<i2").tobytes())
    return folder


def saved(folder: Path, *arrays: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for index, array in enumerate(arrays):
        np.save(folder / f"{index}.npy", array)
    return folder


def test_open_sizes_come_from_the_arrays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = saved(tmp_path / "a", *RANDOM.integers(0, 20, (3, 1, 33)))
    config = init(tmp_path, tokens("ids"), data)
    assert entry(config, "ids").input_shape == (1, 33)
    assert "ran 2 of 3 samples through the float model: y [1, 33, 4]" in capsys.readouterr().out


def test_arrays_of_several_lengths_leave_the_length_open(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = saved(tmp_path / "a", np.ones((1, 5), np.int64), np.ones(7, np.int64))
    config = init(tmp_path, tokens("ids"), data)
    assert entry(config, "ids").input_shape is None
    assert "y [1, 5, 4] and [1, 7, 4]" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["0.bin", "0.dat", "sample0"])
def test_raw_files_by_their_size(tmp_path: Path, name: str) -> None:
    values = RANDOM.normal(size=(1, 3, 4)).astype("<f4")
    (tmp_path / "a").mkdir()
    values.tofile(tmp_path / "a" / name)
    config = init(tmp_path, flat([1, 3, 4]), tmp_path / "a")
    assert entry(config, "x").file_type == "raw"
    np.testing.assert_array_equal(samples(tmp_path, config)[0]["x"], values)


def test_the_size_of_raw_files_tells_an_open_length(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    np.ones((3, 11), "<f4").tofile(tmp_path / "a" / "0.raw")
    assert entry(init(tmp_path, flat(["n", 3, "t"]), tmp_path / "a"), "x").input_shape == (1, 3, 11)


def test_a_list_of_files(tmp_path: Path) -> None:
    saved(tmp_path / "a", *RANDOM.normal(size=(2, 1, 3)).astype(np.float32))
    (tmp_path / "list.txt").write_text("a/1.npy\n", "utf-8")
    config = init(tmp_path, flat(["n", 3]), tmp_path / "list.txt")
    assert len(samples(tmp_path, config)) == 1


@pytest.mark.parametrize("ending", ["npz", "npy"])
def test_one_file_with_all_samples(tmp_path: Path, ending: str) -> None:
    values = RANDOM.normal(size=(5, 3)).astype(np.float32)
    path = tmp_path / f"all.{ending}"
    np.savez(path, x=values) if ending == "npz" else np.save(path, values)
    config = init(tmp_path, flat(["n", 3]), path)
    np.testing.assert_array_equal(np.concatenate([item["x"] for item in samples(tmp_path, config)]), values)


def test_a_folder_with_an_archive_for_each_sample(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for index in range(2):
        np.savez(tmp_path / "a" / f"{index}.npz", a=np.full((1, 4), index), b=np.full((1, 4), 2 + index))
    config = init(tmp_path, tokens("a", "b"), tmp_path / "a")
    assert [(item["a"][0, 0], item["b"][0, 0]) for item in samples(tmp_path, config)] == [(0, 2), (1, 3)]


def test_an_archive_of_other_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models.save(tokens("a"), tmp_path / "net.onnx")
    np.savez(tmp_path / "all.npz", other=np.ones(3))
    assert main(["init", str(tmp_path / "net.onnx"), "--data", str(tmp_path / "all.npz")]) == 2
    assert "holds other, but the model's inputs are a" in capsys.readouterr().err


def test_states_and_the_rate_need_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = saved(tmp_path / "a", *RANDOM.normal(size=(3, 1, 600)).astype(np.float32))
    config = init(tmp_path, recurrent(), data)
    fed = samples(tmp_path, config)
    assert len(fed) == 3
    weights = models.draw(1, 600, 4)
    state = np.zeros((1, 4), np.float32)
    for item in fed:
        np.testing.assert_allclose(item["state"], state, atol=1e-5)
        state = np.tanh(item["x"] @ weights + state)
    assert fed[2]["sr"] == 16000
    assert "input state has no data and gets all 0, [1, 4] for every sample: CHECK" in capsys.readouterr().out
    assert main(["-c", str(tmp_path / "start.json"), "--quiet"]) == 0
    assert (tmp_path / "net.q.onnx").exists()


def cell(operator: str = "Tanh") -> onnx.ModelProto:
    """A step with two states of one shape."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="product"),
        helper.make_node("Add", ["c", "m"], ["cn"], name="sum"),
        helper.make_node(operator, ["cn"], ["t"], name="bend"),
        helper.make_node("Add", ["t", "h"], ["hn"], name="next"),
    ]
    inputs = {"x": ["n", 8], "h": [1, 4], "c": [1, 4]}
    return models.model(nodes, inputs, {"hn": [1, 4], "cn": [1, 4]}, {"w": models.draw(1, 8, 4)})


def test_each_state_follows_its_own_output(tmp_path: Path) -> None:
    data = saved(tmp_path / "a", *RANDOM.normal(size=(3, 1, 8)).astype(np.float32))
    first, second, _ = samples(tmp_path, init(tmp_path, cell(), data))
    product = first["x"] @ models.draw(1, 8, 4)
    np.testing.assert_allclose(second["c"], product, atol=1e-5)
    np.testing.assert_allclose(second["h"], np.tanh(product), atol=1e-5)


def test_states_that_become_infinite_stay_zeros(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = saved(tmp_path / "a", *np.zeros((3, 1, 8), np.float32))
    fed = samples(tmp_path, init(tmp_path, cell("Log"), data))
    assert "the states stay zeros: the state h becomes NaN or infinite" in capsys.readouterr().err
    assert not any(item["h"].any() for item in fed)


def test_masks_follow_the_tokens(tmp_path: Path) -> None:
    data = saved(tmp_path / "a", np.ones((1, 5), np.int64), np.ones((1, 7), np.int64))
    names = ("input_ids", "attention_mask", "position_ids", "token_type_ids")
    fed = samples(tmp_path, init(tmp_path, tokens(*names), data))
    assert [item["attention_mask"].tolist() for item in fed] == [[[1] * 5], [[1] * 7]]
    assert fed[1]["position_ids"].tolist() == [list(range(7))]
    assert fed[0]["token_type_ids"].tolist() == [[0] * 5]


def test_states_are_written_even_without_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = init(tmp_path, recurrent())
    assert entry(config, "x").data_list_path == "calibration/x.txt"
    assert entry(config, "state").data_list_path == "start_state.txt"
    assert "not tried, as the files are still to be listed for: x" in capsys.readouterr().out


@pytest.mark.parametrize("length", [600, None])
def test_waveforms(tmp_path: Path, length: int | None) -> None:
    proto = recurrent(length) if length else flat(["n", "time"])
    config = init(tmp_path, proto, sounds(tmp_path / "a", rate=16000))
    fed = samples(tmp_path, config)
    assert [item["x"].shape for item in fed] == [(1, length or 16000)] * 3
    assert 0.05 < np.abs(fed[0]["x"]).max() < 9000 / 32768 + 1e-6
    assert entry(config, "x").preprocess_file == "start_x.py:run"
    assert "RATE = 16000" in (tmp_path / "start_x.py").read_text("utf-8")


def test_a_waveform_without_a_batch_dimension(tmp_path: Path) -> None:
    fed = samples(tmp_path, init(tmp_path, flat([600]), sounds(tmp_path / "a", rate=22050)))
    assert [item["x"].shape for item in fed] == [(600,)] * 3


def test_features_are_left_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = init(tmp_path, flat(["n", 80, 100]), sounds(tmp_path / "a"), status=1)
    assert "write features()" in capsys.readouterr().err
    written = tmp_path / "start_x.py"
    text = written.read_text("utf-8")
    assert text.count("raise NotImplementedError") == 1
    function = text[: text.index("    raise NotImplementedError")]
    written.write_text(function + "    return np.zeros((len(waveforms), 80, 100), np.float32)\n", "utf-8")
    assert len(samples(tmp_path, config)) == 3


def test_what_does_not_run_is_written_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = saved(tmp_path / "a", np.full((1, 5), 99, np.int64))
    init(tmp_path, tokens("ids"), data, status=1)
    shown = capsys.readouterr()
    assert "the configuration does not work yet" in shown.err
    assert "The files stay as they are written" in shown.out


def test_a_detector_gets_letterboxed_images(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", strides=[32, 32]),
        helper.make_node("Reshape", ["c", "sizes"], ["y"], name="flat"),
    ]
    proto = models.model(
        nodes,
        {"x": [1, 3, 64, 64]},
        {"y": [1, 7, 84]},
        {"w": models.draw(1, 147, 3, 1, 1), "sizes": np.int64([1, 7, 84])},
    )
    assert entry(init(tmp_path, proto), "x").preprocess_file == "LETTERBOX"


def test_nothing_stays_behind_where_a_file_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "start_x.txt").write_text("mine", "utf-8")
    models.save(recurrent(), tmp_path / "net.onnx")
    data = saved(tmp_path / "a", np.ones((1, 600), np.float32))
    options = ["-o", str(tmp_path / "start.json"), "--data", str(data)]
    assert main(["init", str(tmp_path / "net.onnx"), *options]) == 2
    assert not list(tmp_path.glob("start_samples"))
    assert (tmp_path / "start_x.txt").read_text("utf-8") == "mine"


def test_a_folder_of_archives_feeds_the_input_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for index in range(3):
        np.savez(tmp_path / "data" / f"{index}.npz", x=np.full((1, 4), index, np.float32))
    found = samples(tmp_path, init(tmp_path, flat(["n", 4]), f"x={tmp_path / 'data'}"))
    assert [sample["x"].tolist() for sample in found] == [[[index] * 4] for index in range(3)]
