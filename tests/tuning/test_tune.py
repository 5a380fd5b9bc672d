"""`xslim tune` finds the cheapest model that is accurate enough, and a configuration that gives it again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

import xslim
from tests import models
from tests.library.test_data import images
from xslim.cli import main

Arrays = Mapping[str, np.ndarray]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path)


def write_config(folder: Path, **quantization: Any) -> Path:
    models.save(models.residual_net(), folder / "net.onnx")
    listing = models.write_samples(folder / "data", (1, 3, 8, 8), 40)
    path = folder / "net.json"
    path.write_text(
        json.dumps(
            {
                "model_parameters": {"onnx_model": str(folder / "net.onnx"), "output_prefix": "net.q"},
                "calibration_parameters": {
                    "calibration_device": "cpu",
                    "calibration_step": 32,
                    "input_parameters": [{"file_type": "npy", "data_list_path": str(listing)}],
                },
                "quantization_parameters": {"analysis_enable": False, **quantization},
            }
        )
    )
    return path


def tune(
    config: Path, capsys: pytest.CaptureFixture[str], *options: str, expected: int = 0
) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["tune", "-c", str(config), "--json", *options]) == expected
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def worst(trial: dict[str, Any]) -> float:
    return min(row["sqnr_db"] for row in trial["outputs"])


def test_a_goal_that_is_met_already_takes_one_trial(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tune(config, capsys, "--min-sqnr", "5")
    assert len(found["trials"]) == 1
    assert found["met"]
    assert found["trials"][0]["int8_share"] == 1.0
    text = (config.parent / "net.q_tune.md").read_text()
    assert "already, at least 5.00 dB was wanted" in text


def test_layers_become_float_until_the_goal_is_met_and_the_config_gives_the_model_again(
    config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first = tune(config, capsys, "--min-sqnr", "1")["trials"][0]
    wanted = worst(first) + 4.0
    found = tune(config, capsys, "--min-sqnr", str(wanted))
    best = found["trials"][found["best"]]
    assert worst(best) >= wanted
    assert 0.0 < best["int8_share"] < 1.0
    assert best["settings"]["float_tensors"]
    cheaper = [trial for trial in found["trials"] if trial["int8_share"] > best["int8_share"]]
    assert all(worst(trial) < wanted for trial in cheaper)

    model = (config.parent / "net.q.onnx").read_bytes()
    tuned = config.parent / "net.q_tuned.json"
    assert main(["-c", str(tuned), "-o", str(tmp_path / "again.onnx")]) == 0
    assert (tmp_path / "again.onnx").read_bytes() == model


def test_an_output_that_is_a_sequence_is_rated_like_an_array(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = tune(config, capsys)["path"]
    proto = onnx.load(config.parent / "net.onnx")
    proto.graph.node.append(helper.make_node("SplitToSequence", ["y"], ["parts"], axis=1, name="split"))
    parts = helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None)
    proto.graph.output[0].CopyFrom(parts)
    models.save(proto, config.parent / "net.onnx")
    found = tune(config, capsys)
    assert found["met"]
    assert [row["name"] for row in found["trials"][0]["outputs"]] == ["parts"]
    expected = [stage["predicted_db"] for stage in plain]
    assert [stage["predicted_db"] for stage in found["path"]] == pytest.approx(expected, abs=1.0)


def test_what_is_predicted_is_what_is_measured(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = tune(config, capsys)
    assert found["met"]
    first, last = found["trials"][0], found["trials"][-1]
    predicted = {round(stage["float_share"], 3): stage["predicted_db"] for stage in found["path"]}
    assert predicted[0.0] == pytest.approx(worst(first), abs=2.5)
    share = round(first["int8_share"] - last["int8_share"], 3)
    assert predicted[share] == pytest.approx(worst(last), abs=2.5)


def test_a_goal_out_of_reach_ends_with_3_and_the_best_model(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tune(config, capsys, "--min-sqnr", "150", expected=3)
    assert not found["met"]
    assert found["value"] == max(worst(trial) for trial in found["trials"])
    assert (config.parent / "net.q.onnx").is_file()
    assert "150.00 dB was wanted" in (config.parent / "net.q_tune.md").read_text()


def test_a_search_goes_on_from_its_record(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = tune(config, capsys, "--min-sqnr", "150", expected=3)
    assert main(["tune", "-c", str(config), "--min-cosine", "0.5"]) == 0
    assert f"going on from {len(first['trials'])} trials" in capsys.readouterr().err
    record = config.parent / "net.q_tune.json"
    assert json.loads(record.read_text())["trials"] == first["trials"]
    record.write_text(record.read_text()[:100])
    assert main(["tune", "-c", str(config), "--min-sqnr", "1"]) == 0
    assert "is not used" in capsys.readouterr().err


def test_other_samples_make_a_record_worthless(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = tune(config, capsys, "--min-sqnr", "1")
    np.save(next((config.parent / "data").glob("*.npy")), 9 * np.ones((1, 3, 8, 8), np.float32))
    assert tune(config, capsys, "--min-sqnr", "1")["trials"][0]["outputs"] != first["trials"][0]["outputs"]


def test_the_time_limit_ends_the_search_with_the_best_so_far(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tune(config, capsys, "--min-sqnr", "150", "--time-limit", "1e-9", expected=3)
    assert found["timed_out"]
    assert len(found["trials"]) == 1


METRIC = """
import numpy as np
X = np.random.default_rng(5).standard_normal((8, 1, 3, 8, 8)).astype(np.float32)

def spread(run):
    return float(np.std([run({"x": x})["y"] for x in X]))

def fails(run):
    raise RuntimeError("no such file")

def nan(run):
    return float("nan")
"""


@pytest.fixture
def metric(tmp_path: Path) -> str:
    (tmp_path / "metric.py").write_text(METRIC)
    return str(tmp_path / "metric.py")


def test_a_metric_of_the_user_decides(config: Path, metric: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = tune(config, capsys, "--metric", f"{metric}:spread", "--max-drop", "0.5")
    assert found["measure"] == "metric"
    assert found["value"] >= found["wanted"]


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        ("fails", ["--max-drop", "0"], "the metric raised RuntimeError: no such file"),
        ("nan", ["--max-drop", "0"], "the metric returned nan"),
        ("spread", ["--min", "1e6"], "the float model itself has"),
        ("spread", [], "needs either --min or --max-drop"),
        ("spread", ["--min", "1", "--max-drop", "1"], "needs either --min or --max-drop"),
        ("spread", ["--max-drop", "-1"], "must not be negative"),
        ("spread", ["--max-drop", "0", "--min-sqnr", "3"], "give one goal, not --min-sqnr and --metric"),
    ],
)
def test_a_metric_that_cannot_work_is_refused(
    config: Path,
    metric: str,
    function: str,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["tune", "-c", str(config), "--metric", f"{metric}:{function}", *options]) == 2
    assert message in capsys.readouterr().err
    assert not (config.parent / "net.q.onnx").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-cosine", "1.5"], "must be above 0 and at most 1"),
        (["--min-sqnr", "nan"], "must be a finite number"),
        (["--min-sqnr", "3", "--min-cosine", "0.9"], "give one goal"),
        (["--min", "3"], "belongs to --metric"),
        (["--time-limit", "0"], "must be a positive number of minutes"),
    ],
)
def test_goals_that_contradict_are_refused(
    config: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", "-c", str(config), *options]) == 2
    assert message in capsys.readouterr().err


def test_agreement_needs_classes(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net = xslim.info(config.parent / "net.onnx")
    status = main(["tune", "-c", str(config), "--min-agreement", "0.5"])
    classes = any(len(output.shape or ()) == 2 for output in net.outputs)
    assert status == (0 if classes else 2)


def test_there_is_nothing_to_tune_without_calibration(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_config(tmp_path, precision_level=3)
    assert main(["tune", "-c", str(path)]) == 2
    assert "there is nothing to tune at precision level 3" in capsys.readouterr().err


def test_the_library_tunes_with_data_from_memory() -> None:
    found = xslim.tune(models.conv_net("n"), images(40), min_sqnr=10, calibration_step=30)
    assert found.met
    assert found.value >= 10
    assert found.result.path is None
    session = ort.InferenceSession(found.result.model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": images(2)})[0].shape == (2, 10)
    assert found.config["quantization_parameters"]["max_float_share"] == 0
    assert not any(name.startswith("input_param") for name in found.config["calibration_parameters"])
    assert found.to_html().startswith("<!doctype html>")
    assert found.as_json()["met"]


def test_the_library_takes_a_metric() -> None:
    def negative_error(run: xslim.Run) -> float:
        return -float(np.abs(run({"x": images(4)})["y"]).max())

    found = xslim.tune(models.conv_net("n"), images(40), metric=negative_error, max_drop=1.0)
    assert found.met
    with pytest.raises(xslim.ConfigError, match="needs either min_metric or max_drop"):
        xslim.tune(models.conv_net("n"), images(40), metric=negative_error)
