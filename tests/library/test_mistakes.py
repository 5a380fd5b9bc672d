"""What users of the Python functions do by mistake, and what they take for granted."""

from __future__ import annotations

import json
import logging
import logging.handlers
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

import xslim
from tests import models

IMAGES = models.draw(0, 24, 3, 8, 8)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    models.save(models.conv_net("n"), path)
    return path


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def test_a_result_does_not_replace_its_float_model(model: Path) -> None:
    before = model.read_bytes()
    result = xslim.quantize(model, IMAGES)
    with pytest.raises(xslim.OutputError, match="would replace an input, the model"):
        result.save(model)
    assert model.read_bytes() == before
    assert onnx.load(result.save(model.with_name("int8.onnx"))) == result.model


def test_external_weights_are_not_replaced_either(tmp_path: Path) -> None:
    onnx.save(models.conv_net("n"), tmp_path / "net.onnx", save_as_external_data=True, location="weights")
    with pytest.raises(xslim.OutputError, match="the model's data"):
        xslim.quantize(tmp_path / "net.onnx", IMAGES).save(tmp_path / "weights")


def test_merged_shards_do_not_replace_the_float_model_either(model: Path) -> None:
    np.save(model.with_name("x.npy"), IMAGES[0])
    model.with_name("list.txt").write_text("x.npy\n" * 8)
    entry = {"file_type": "npy", "data_list_path": str(model.with_name("list.txt"))}
    config = {
        "model_parameters": {"onnx_model": str(model), "working_dir": str(model.parent / "out")},
        "calibration_parameters": {"input_parameters": [entry]},
        "quantization_parameters": {"finetune_level": 0},
    }
    result = xslim.merge(config, xslim.collect(config, model.with_name("a.sketches")))
    with pytest.raises(xslim.OutputError, match="would replace an input, the model"):
        result.save(model)


def test_warnings_are_kept_where_no_program_logs_them(model: Path) -> None:
    result = xslim.quantize(model, IMAGES[:4], ignore_op_names=["no such node"])
    assert any("no operator of the prepared model is named" in text for text in result.warnings)
    assert any("Only 4 calibration samples" in text for text in result.warnings)
    assert "no such node" in result._repr_html_()
    assert not xslim.quantize(model, IMAGES, calibration_device="cpu").warnings


@pytest.mark.parametrize("report", [True, False])
@pytest.mark.parametrize(("peak", "poor"), [(2e4, True), (2.0, False)])
def test_a_poor_result_has_a_warning_with_and_without_a_report(
    tmp_path: Path, peak: float, poor: bool, report: bool
) -> None:
    proto = models.mlp("n")
    for bias in proto.graph.initializer[1], proto.graph.initializer[3]:
        bias.CopyFrom(onnx.numpy_helper.from_array(np.zeros(bias.dims, np.float32), bias.name))
    weight = onnx.numpy_helper.to_array(proto.graph.initializer[0]).copy()
    weight[0] = 0
    proto.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weight, "w1"))
    # One column that the model does not use takes the whole range of the input.
    data = models.draw(7, 64, 1, 16)
    data[..., 0] = peak
    output = tmp_path / "out.onnx" if report else None
    result = xslim.quantize(proto, data, output=output, finetune_level=0, calibration_device="cpu")
    [found] = result.comparison
    assert (found.sqnr_db < 10) == poor
    expected = (
        f"output y is at {found.sqnr_db:.1f} dB: its noise has more than a tenth of the signal's energy"
    )
    assert (expected in result.warnings) == poor


@pytest.mark.parametrize("name", ["xslim", None])
@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR, logging.CRITICAL + 1])
def test_warnings_are_kept_whatever_the_program_logs(model: Path, name: str | None, level: int) -> None:
    logger, shown = logging.getLogger(name), logging.handlers.BufferingHandler(1000)
    before = logger.level
    logger.addHandler(shown)
    logger.setLevel(level)
    try:
        result = xslim.quantize(model, IMAGES[:4], finetune_level=0)
        assert logger.level == level
        logging.getLogger("xslim.somewhere").warning("after the run")
    finally:
        logger.setLevel(before)
        logger.removeHandler(shown)
    assert any("Only 4 calibration samples" in text for text in result.warnings)
    texts = [record.getMessage() for record in shown.buffer]
    assert texts == ([*result.warnings, "after the run"] if level == logging.WARNING else [])
    assert not shown.filters


def test_the_comparison_is_that_of_the_report(model: Path, tmp_path: Path) -> None:
    result = xslim.quantize(model, IMAGES, output=tmp_path / "out.onnx")
    written = json.loads((tmp_path / "out_report.json").read_text("utf-8"))
    assert result.comparison[0].sqnr_db == pytest.approx(written["outputs"][0]["errors"]["sqnr_db"], abs=1e-4)


def test_no_configuration_names_files_that_are_gone(model: Path, tmp_path: Path) -> None:
    tuned = xslim.tune(model, IMAGES, min_sqnr=5.0)
    written = xslim.tune(model, IMAGES, min_sqnr=5.0, output=tmp_path / "tuned.onnx")
    report = json.loads(written.result.report.to_json())
    for content in (tuned.config, tuned.as_json(), written.config, report):
        assert not [text for text in _texts(content) if ".xslim-" in text]
    assert "input_parameters" not in written.config["calibration_parameters"]
    again = xslim.quantize(model, IMAGES, config=tmp_path / "tuned_tuned.json")
    assert again.model == written.result.model


def test_what_torch_exports_and_what_xslim_returns_are_models(model: Path) -> None:
    proto = onnx.load(model)
    exported = SimpleNamespace(model_proto=proto, model=object())
    result = xslim.quantize(exported, IMAGES)
    assert result.model == xslim.quantize(proto, IMAGES).model
    assert xslim.compare(exported, result, IMAGES).outputs[0].sqnr_db is not None


class Tensor:
    """What a tensor of PyTorch has of an array."""

    def __init__(self, array: np.ndarray) -> None:  # type: ignore[type-arg]
        self._array = array

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:  # type: ignore[type-arg]
        return self._array


def test_a_metric_may_feed_tensors(model: Path) -> None:
    found = xslim.compare(
        model, model, IMAGES, metric=lambda run: float(run({"x": Tensor(IMAGES[:1])})["y"].sum())
    )
    assert found.metric is not None
    assert found.metric[0] == found.metric[1]


@pytest.mark.parametrize(
    "feeds", [{"image": IMAGES[:1]}, {"x": IMAGES[:1].astype(np.float64)}, {"x": IMAGES[0]}, {}]
)
def test_a_metric_that_feeds_wrongly_is_named(model: Path, feeds: dict[str, object]) -> None:
    def accuracy(run: xslim.Run) -> float:
        return float(run(feeds)["y"].sum())  # type: ignore[arg-type]

    with pytest.raises(xslim.DataError, match="accuracy: the metric cannot run the model") as caught:
        xslim.compare(model, model, IMAGES, metric=accuracy)
    assert caught.value.hint == "feed the inputs by name, in their types and shapes; xslim info shows them"


def test_labels_of_samples_that_do_not_fill_a_batch_are_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    proto = models.model([node], {"x": [4, 6]}, {"y": [4, 3]}, {"w": models.draw(1, 6, 3)})
    data = models.draw(2, 10, 6)
    with caplog.at_level("WARNING", logger="xslim"):
        found = xslim.compare(proto, proto, data, labels=[0] * 10)
    assert found.accuracy is not None
    assert found.accuracy.top1[0].samples == 8
    assert "the last 2 samples do not fill the model's batch of 4" in caplog.text


def test_options_are_suggested_for_the_function_that_was_called(model: Path) -> None:
    with pytest.raises(xslim.ConfigError, match=r"xslim\.tune: .*min_snr.*did you mean min_sqnr"):
        xslim.tune(model, IMAGES, min_snr=30)  # type: ignore[call-arg]
    with pytest.raises(xslim.ConfigError, match=r"config=\{'model_parameters': \{'opset'"):
        xslim.quantize(model, IMAGES, opset=17)  # type: ignore[call-arg]
    with pytest.raises(xslim.ConfigError, match="data: precision level 0 needs calibration samples"):
        xslim.tune(model, min_sqnr=30)


def test_a_language_and_a_shard_that_do_not_exist(model: Path) -> None:
    with pytest.raises(xslim.ConfigError, match="unknown language 'fr'"):
        xslim.quantize(model, IMAGES).report.to_html("fr")  # type: ignore[arg-type]
    with pytest.raises(xslim.ConfigError, match="is not \\(index, count\\)"):
        xslim.collect({}, "a.sketches", shard="1/2")  # type: ignore[arg-type]


def test_every_error_is_a_name_of_the_package() -> None:
    for name in ("CrashError", "LimitError", "NotFiniteError", "NotRunnableError"):
        assert issubclass(getattr(xslim, name), xslim.XSlimError)
    assert isinstance(xslim.load_config({"quantization_parameters": {"precision_level": 4}}), xslim.Config)
