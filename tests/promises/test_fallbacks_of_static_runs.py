"""Where onnxruntime's optimiser fails, a lower opset is taken, or else the result passes as it is written."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests import models
from tests.promises.static_runs import LEVELS, Net, configuration, quantise, run, sqnr, weights
from xslim import quantize_onnx_model
from xslim.export import loadable
from xslim.graph import io
from xslim.pipeline import api, fallback

TEXT = (
    "(float[1, 8, 32] x) => (float[1, 8, 32] y) { a = MatMul(x, u)  s = Sigmoid(a)  t = Mul(a, s) "
    "b = MatMul(t, v)  y = Add(b, k) }"
)
CONSTANTS = {"u": weights(1, 32, 32), "v": weights(2, 32, 32), "k": weights(3, 32)}
# An optimiser that fails above some opset: the form that it fails on is left as it is.
fails = pytest.fixture(lambda monkeypatch: monkeypatch.setattr(loadable, "SIGNED_GEMM_OPSET", 99))


@pytest.mark.usefixtures("fails")
def test_the_lower_opset_is_taken_and_the_log_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net = Net(TEXT, CONSTANTS, opset=17)
    with caplog.at_level(logging.WARNING):
        result = quantise(net, tmp_path)
    assert result.opset_import[0].version == 17
    assert "opset 17 is taken instead of 24, at which the quantised model does not run" in caplog.text
    sample = net.samples()[0]
    assert sqnr(run(net.proto, sample, LEVELS[0]), run(result, sample, LEVELS[0])) > 18


@pytest.mark.usefixtures("fails")
def test_where_no_opset_is_lower_the_result_passes_as_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net = Net(TEXT, CONSTANTS, opset=23)
    with caplog.at_level(logging.WARNING):
        result = quantise(net, tmp_path)
    assert "it lives with the optimisation level ORT_ENABLE_BASIC" in caplog.text
    sample = net.samples()[0]
    assert sqnr(run(net.proto, sample, LEVELS[0]), run(result, sample, LEVELS[-1])) > 18


def test_without_a_failure_the_opset_is_raised(tmp_path: Path) -> None:
    assert quantise(Net(TEXT, CONSTANTS, opset=17), tmp_path).opset_import[0].version == 24


@pytest.mark.parametrize("analysis", [False, True])
def test_a_result_beyond_one_message_is_checked_and_written(
    analysis: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (io, fallback, api):
        monkeypatch.setattr(module, "PROTO_LIMIT_BYTES", 100)
    net = Net(TEXT, CONSTANTS)
    model = models.save(net.proto, tmp_path / "model.onnx")
    config = configuration(tmp_path, net.samples(), analysis_enable=analysis)
    quantize_onnx_model(config, model, tmp_path / "result.onnx")
    assert (tmp_path / "result.onnx.data").stat().st_size > 2 * 32 * 32 - 1
    assert not list(tmp_path.glob(".xslim-*"))
    monkeypatch.undo()
    result = io.to_proto(io.load_model(tmp_path / "result.onnx"))
    sample = net.samples()[0]
    assert sqnr(run(net.proto, sample, LEVELS[0]), run(result, sample, LEVELS[0])) > 18
