"""An attention mask that is computed, so that only calibration can find its infinities, stays float."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest

import xslim
from tests import models
from tests.quantization.build import graph, normal, run, sqnr
from xslim.commands.collect import collect_shard
from xslim.pipeline.run import quantize

ATTENTION = """(float[1,6,8] x) => (float[1,6,8] y) {
    q = MatMul(x, wq)
    k = MatMul(x, wk)
    kt = Transpose<perm = [0, 2, 1]>(k)
    scores = MatMul(q, kt)
    first = Slice(x, zero, one, two)
    open = Relu(first)
    mask = Log(open)
    row = Transpose<perm = [0, 2, 1]>(mask)
    masked = Add(scores, row)
    probabilities = Softmax<axis = -1>(masked)
    mixed = MatMul(probabilities, x)
    y = MatMul(mixed, wo)
}"""


def test_a_run_plans_again_when_it_meets_infinities(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = {name: normal(seed, 8, 8, scale=0.5) for seed, name in enumerate(("wq", "wk", "wo"))}
    bounds = {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2])}
    proto = graph(ATTENTION, weights | bounds)
    listing = models.write_samples(tmp_path / "data", (1, 6, 8), 6)
    config = {
        "model_parameters": {"working_dir": str(tmp_path)},
        "calibration_parameters": {
            "input_parametres": [{"file_type": "npy", "data_list_path": str(listing)}]
        },
        "quantization_parameters": {"precision_level": 0, "finetune_level": 0, "analysis_enable": False},
    }
    with caplog.at_level(logging.WARNING, logger="xslim"):
        result = xslim.quantize_onnx_model(config, proto)
    assert "hold infinities and so stay float: mask, masked" in caplog.text
    quantized = {node.input[0] for node in result.graph.node if node.op_type == "QuantizeLinear"}
    assert not {"mask", "row", "masked"} & quantized
    assert {"probabilities", "mixed"} <= quantized
    feeds = {"x": np.load(tmp_path / "data" / "x0.npy")}
    assert sqnr(run(proto, feeds)[0], run(result, feeds)[0]) > 15
    onnx.checker.check_model(result)


def test_collected_shards_of_a_masked_model_make_the_whole_run(tmp_path: Path) -> None:
    weights = {name: normal(seed, 8, 8, scale=0.5) for seed, name in enumerate(("wq", "wk", "wo"))}
    bounds = {"zero": np.array([0]), "one": np.array([1]), "two": np.array([2])}
    onnx.save(graph(ATTENTION, weights | bounds), tmp_path / "m.onnx")
    listing = models.write_samples(tmp_path / "data", (1, 6, 8), 6)
    config = {
        "model_parameters": {"onnx_model": str(tmp_path / "m.onnx"), "working_dir": str(tmp_path / "out")},
        "calibration_parameters": {
            "input_parametres": [{"file_type": "npy", "data_list_path": str(listing)}]
        },
        "quantization_parameters": {"finetune_level": 1, "analysis_enable": False},
    }
    shards = [tmp_path / "first", tmp_path / "second"]
    for index, shard in enumerate(shards):
        collect_shard(config, (index, 2), shard)
    whole = xslim.quantize_onnx_model(config, output_path=tmp_path / "whole.onnx")
    merged = quantize(config, output_path=tmp_path / "merged.onnx", sketch_files=shards[::-1])
    assert merged.graph
    assert (tmp_path / "whole.onnx").read_bytes() == (tmp_path / "merged.onnx").read_bytes()
    assert whole == onnx.load(tmp_path / "merged.onnx")
