"""The functions of the library return objects with the numbers that the commands print."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import numpy_helper

import xslim
from tests import models
from tests.library.test_data import images
from xslim.config import Config


@pytest.fixture(scope="module")
def result() -> xslim.Result:
    return xslim.quantize(models.conv_net("n"), images(24))


def test_parameters_are_those_of_the_model(result: xslim.Result) -> None:
    stored = {item.name: numpy_helper.to_array(item) for item in result.model.graph.initializer}
    pairs = [node for node in result.model.graph.node if node.op_type == "QuantizeLinear"]
    activations = [item for item in result.parameters.values() if item.kind == "activation"]
    assert len(pairs) == len(activations) > 3
    for node in pairs:
        found = result.parameters[node.input[0]]
        assert stored[node.input[1]] == found.scale
        assert stored[node.input[2]] == found.zero_point
    weight = result.parameters["w2"]
    assert weight.axis == 0
    assert weight.scale.shape == (16,)


def test_the_range_seen_is_that_of_the_samples(result: xslim.Result) -> None:
    calibrated = [row for number, row in enumerate(images(24)) if number]
    low, high = result.parameters["x"].range_seen or (0, 0)
    assert images(24).min() <= low < np.median([row.min() for row in calibrated])
    assert np.median([row.max() for row in calibrated]) < high <= images(24).max()


def test_the_comparison_is_that_of_onnxruntime(result: xslim.Result) -> None:
    [row] = result.comparison
    found = xslim.compare(models.conv_net("n"), result.model, images(24), samples=24)
    assert row.name == found.outputs[0].name == "y"
    assert row.sqnr_db == pytest.approx(found.outputs[0].sqnr_db, abs=6)
    assert 15 < row.sqnr_db < 80


def test_a_saved_model_runs(result: xslim.Result, tmp_path: Path) -> None:
    path = result.save(tmp_path / "model.onnx")
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.run(None, {"x": images(2)})[0].shape == (2, 10)


def test_the_report_in_its_forms(result: xslim.Result) -> None:
    report = result.report
    assert report is result.report
    assert json.loads(report.to_json())["outputs"][0]["name"] == "y"
    assert report.to_html().startswith("<!doctype html>")
    assert report.to_markdown().startswith("# ")
    assert report.data.verdict.text.split(":")[0] in result._repr_html_()


def test_a_written_run_has_its_report_beside_it(tmp_path: Path) -> None:
    result = xslim.quantize(models.conv_net("n"), images(24), output=tmp_path / "out.onnx")
    assert result.path == tmp_path / "out.onnx"
    assert result.model == onnx.load(tmp_path / "out.onnx")
    assert (tmp_path / "out_report.html").read_text("utf-8") == result.report.to_html()


def test_every_kind_of_model_is_taken(tmp_path: Path, result: xslim.Result) -> None:
    proto = models.conv_net("n")
    onnx.save(proto, tmp_path / "net.onnx")
    before = (tmp_path / "net.onnx").read_bytes()
    for model in (tmp_path / "net.onnx", str(tmp_path / "net.onnx"), ir.from_proto(proto)):
        assert xslim.quantize(model, images(24)).model == result.model
    assert (tmp_path / "net.onnx").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    with pytest.raises(xslim.ModelError, match="not int"):
        xslim.quantize(3, images())  # type: ignore[arg-type]


def test_options_have_the_checks_of_json() -> None:
    with pytest.raises(xslim.ConfigError, match="did you mean finetune_level"):
        xslim.quantize(models.conv_net("n"), images(), finetune_levl=0)  # type: ignore[call-arg]
    with pytest.raises(xslim.ConfigError, match=r"quantization_parameters.finetune_level"):
        xslim.quantize(models.conv_net("n"), images(), finetune_level=7)
    with pytest.raises(xslim.ConfigError, match=r"calibration_parameters.calibration_step"):
        xslim.quantize(models.conv_net("n"), images(), calibration_step=0)


def test_options_replace_the_configuration() -> None:
    config = {"quantization_parameters": {"ignore_op_types": ["Gemm"], "finetune_level": 2}}
    result = xslim.quantize(models.conv_net("n"), images(), config=config, finetune_level=0)
    assert result.gains == ()
    assert result.plan is not None
    float_types = {item.op_type for item in result.plan.operators if not item.int8}
    assert "Gemm" in float_types
    assert "Conv" not in float_types


def test_levels_without_samples() -> None:
    dynamic = xslim.quantize(models.conv_net("n"), precision_level=3)
    assert any(node.op_type == "DequantizeLinear" for node in dynamic.model.graph.node) or any(
        "Dynamic" in node.op_type for node in dynamic.model.graph.node
    )
    assert dynamic.plan is None
    assert dynamic.parameters == {}
    with pytest.raises(xslim.ConfigError, match="no report without calibration"):
        _ = dynamic.report
    with pytest.raises(xslim.ConfigError, match="needs calibration samples"):
        xslim.quantize(models.conv_net("n"))


def test_progress_names_its_phases_and_ends_each() -> None:
    calls: list[tuple[str, int, int]] = []
    xslim.quantize(models.conv_net("n"), images(24), progress=lambda *call: calls.append(call))
    last = {phase: (done, total) for phase, done, total in calls}
    assert "calibrating" in last
    assert any(phase.startswith("refining") for phase in last)
    assert all(done == total for done, total in last.values())
    with pytest.raises(xslim.ConfigError, match="progress"):
        xslim.quantize(models.conv_net("n"), images(), progress="yes")  # type: ignore[arg-type]


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    xslim.quantize(models.conv_net("n"), np.zeros((12, 3, 8, 8), np.float32) + images())
    assert capfd.readouterr() == ("", "")


def test_plan_check_info_and_compare(result: xslim.Result) -> None:
    model = models.conv_net("n")
    assert xslim.plan(model).int8_share == 1.0
    assert xslim.plan(model, ignore_op_types=["Conv"]).int8_share < 0.2
    assert xslim.check(result.model).passed
    assert xslim.info(model).operators["Conv"] == 2
    assert xslim.compare(model, model, images()).outputs[0].equal == 1.0


def test_a_metric_rates_both_models(result: xslim.Result) -> None:
    x = images()
    labels = ort.InferenceSession(models.conv_net("n").SerializeToString()).run(None, {"x": x})[0].argmax(1)

    def accuracy(run: xslim.Run) -> float:
        return float((run({"x": x})["y"].argmax(1) == labels).mean())

    found = xslim.compare(models.conv_net("n"), result.model, x, metric=accuracy)
    assert found.metric is not None
    assert found.metric[0] == 1.0
    assert 0.5 <= found.metric[1] <= 1.0


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (lambda run: 1 / 0, "the metric raised ZeroDivisionError"),
        (lambda run: sys.exit(0), "the metric raised SystemExit: 0"),
        (lambda run: float("nan"), "the metric returned nan"),
        (lambda run: "good", "the metric raised ValueError"),
        (lambda: 1.0, "the metric raised TypeError"),
    ],
)
def test_errors_of_a_metric_are_the_users(metric: xslim.Metric, message: str) -> None:
    with pytest.raises(xslim.DataError, match=message):
        xslim.compare(models.conv_net("n"), models.conv_net("n"), images(), metric=metric)


def config_of(folder: Path, function: object, count: int = 12) -> tuple[dict[str, object], list[Path]]:
    paths = [folder / f"{number}.bin" for number in range(count)]
    for path, row in zip(paths, images(count), strict=True):
        path.write_bytes(row.tobytes())
    entry = {"file_type": "raw", "preprocess_file": function, "data_list_path": paths}
    return {"calibration_parameters": {"input_parameters": [entry]}}, paths


def test_a_config_may_hold_a_function_and_paths(tmp_path: Path) -> None:
    def read(paths: list[str], entry: dict[str, object]) -> np.ndarray:
        assert entry["input_name"] == "x"
        return np.stack([np.fromfile(path, np.float32).reshape(3, 8, 8) for path in paths])

    config, _ = config_of(tmp_path, read)
    found = xslim.quantize_onnx_model(config, models.conv_net("n"), tmp_path / "out.onnx")
    assert found == xslim.quantize(models.conv_net("n"), images()).model
    loaded = xslim.load_config(config)
    assert isinstance(loaded, Config)
    again = xslim.load_config(loaded, precision_level=1)
    assert again.calibration_parameters.input_parameters[0].function is read
    changed = xslim.quantize_onnx_model(
        config_of(tmp_path, lambda paths, entry: 2 * read(paths, entry))[0],
        models.conv_net("n"),
        tmp_path / "out.onnx",
    )
    assert changed != found, "sketches of another function are not used"


def test_paths_that_do_not_exist_are_named(tmp_path: Path) -> None:
    config, paths = config_of(tmp_path, None)
    paths[3].unlink()
    with pytest.raises(xslim.DataError, match=r"data_list_path, line 4: .*3\.bin: there is no such file"):
        xslim.quantize_onnx_model(config, models.conv_net("n"), tmp_path / "out.onnx")
    entry = {"data_list_path": [3]}
    with pytest.raises(xslim.ConfigError, match="must hold paths of files"):
        xslim.load_config({"calibration_parameters": {"input_parameters": [entry]}})


def test_shards_give_the_result_of_one_run(tmp_path: Path, result: xslim.Result) -> None:
    onnx.save(models.conv_net("n"), tmp_path / "net.onnx")
    rows = images(24)
    for number, row in enumerate(rows):
        np.save(tmp_path / f"{number:02d}.npy", row)
    paths = [str(tmp_path / f"{number:02d}.npy") for number in range(24)]
    config = {
        "model_parameters": {"onnx_model": str(tmp_path / "net.onnx")},
        "calibration_parameters": {"input_parameters": [{"file_type": "npy", "data_list_path": paths}]},
    }
    parts = [xslim.collect(config, tmp_path / f"{index}.sketches", shard=(index, 2)) for index in range(2)]
    assert xslim.merge(config, parts, tmp_path / "merged.onnx").model == result.model
    with pytest.raises(xslim.ConfigError, match="shard"):
        xslim.collect(config, tmp_path / "x.sketches", shard=(2, 2))
