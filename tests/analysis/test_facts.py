"""The title of a report and the operators that stayed float, in the user's own names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from tests import models
from tests.analysis.subjects import make_subject, pictures
from xslim.analysis import analyse, report_files
from xslim.analysis.facts import float_operators, run_facts
from xslim.config import load_config
from xslim.graph.io import load_model
from xslim.graph.scheme import OperatorPlan
from xslim.pipeline.report import FIXED_DATE, date_of_run


def test_float_operators_have_the_names_of_the_user() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="first"),
        helper.make_node("Exp", ["c"], ["e"]),
        helper.make_node("Relu", ["e"], ["y"], name="last"),
    ]
    weights = {"w": models.draw(0, 3, 3, 1, 1)}
    original = load_model(models.model(nodes, {"x": [1, 3, 4, 4]}, {"y": [1, 3, 4, 4]}, weights))
    plan = (
        OperatorPlan("first", "Conv", True, "int8", ("c",)),
        OperatorPlan("Exp_7", "Exp", False, "why", ("e",)),
        OperatorPlan("merged", "Relu", False, "why", ("y",)),
        OperatorPlan("made", "Mul", False, "why", ("new",)),
    )
    found = float_operators(original, plan)
    assert [(item.name, item.op_type) for item in found] == [("e", "Exp"), ("last", "Relu"), ("new", "Mul")]


def test_inputs_are_described_with_their_preprocessing() -> None:
    model = load_model(models.conv_net())
    entry = {
        "data_list_path": "list.txt",
        "mean_value": [1.0, 2.0, 3.0],
        "std_value": [4.0, 5.0, 6.0],
        "color_format": "rgb",
        "preprocess_file": "PT_IMAGENET",
    }
    config = load_config({"calibration_parameters": {"input_parameters": [entry]}})
    facts = run_facts("net.onnx", "2024-02-03 04:05", model, config)
    (item,) = facts.inputs
    assert (facts.source, item.name, item.shape) == ("net.onnx", "x", (1, 3, 8, 8))
    assert (item.preprocess, item.color_format) == ("PT_IMAGENET", "rgb")
    assert (item.mean, item.deviation) == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))


def test_a_grey_image_has_no_order_of_colours() -> None:
    entry = {"data_list_path": "list.txt", "mean_value": [1.0]}
    config = load_config({"calibration_parameters": {"input_parameters": [entry]}})
    model = load_model(models.conv_net())
    model.graph.inputs[0].shape = ir.Shape([1, 1, 8, 8])
    (item,) = run_facts("", "", model, config).inputs
    assert (item.color_format, item.mean) == ("", (1.0,))


def test_the_folder_of_a_function_is_not_shown() -> None:
    entry = {"data_list_path": "list.txt", "preprocess_file": "/home/me/secret/prepare.py:crop"}
    config = load_config({"calibration_parameters": {"input_parameters": [entry]}})
    (item,) = run_facts("", "", load_model(models.conv_net()), config).inputs
    assert item.preprocess == "prepare.py:crop"


def test_the_date_is_in_the_title_and_not_in_the_json(tmp_path: Path) -> None:
    from dataclasses import replace

    subject = make_subject(tmp_path, models.conv_net(), pictures(12))
    dated = report_files(analyse(replace(subject, date="2024-02-03 04:05", source="net.onnx")))
    undated = report_files(analyse(replace(subject, source="net.onnx")))
    title = "<title>net.q \u2013 2024-02-03 04:05 \u2013 net.onnx \u2013 XSlim report</title>"
    assert title in dated["_report.html"]
    assert "- run: 2024-02-03 04:05" in dated["_report.md"]
    assert dated["_report.json"] == undated["_report.json"]
    for name in ("_report.md", "_report.html"):
        lines = [line for line in dated[name].splitlines() if "2024-02-03" not in line]
        assert set(lines) <= set(undated[name].splitlines())


def test_a_reproducible_build_fixes_the_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FIXED_DATE, "86400")
    assert date_of_run() == "1970-01-02 00:00"


def test_weights_before_and_after_are_counted_in_the_same_bins(tmp_path: Path) -> None:
    subject = make_subject(tmp_path, models.conv_net(), pictures(12))
    report = analyse(subject)
    for plan, stored in subject.quantization.constants.items():
        row = next(item for item in report.constants if item.name == plan.tensor)
        pair = row.histograms
        assert pair is not None
        tensor = subject.reference.graph.initializers[plan.tensor].const_value
        assert tensor is not None
        assert sum(pair.before) == sum(pair.after) == tensor.numpy().size
        shape = [1] * stored.values.ndim
        if stored.params.axis is not None:
            shape[stored.params.axis] = -1
        restored = stored.values.astype(np.float64) * stored.params.scale.reshape(shape)
        counts, _ = np.histogram(restored, len(pair.after), (pair.low, pair.high))
        # A sketch knows a value to half a percent, so one at the edge of a bin may fall into the next.
        assert np.abs(np.cumsum(counts) - np.cumsum(pair.after)).max() <= 0.05 * restored.size + 1


def test_the_json_lists_float_operators(tmp_path: Path) -> None:
    ignored = {"ignore_op_names": ["conv2"]}
    subject = make_subject(tmp_path, models.conv_net(), pictures(12), quantization=ignored)
    data = json.loads(report_files(analyse(subject))["_report.json"])
    reasons = {item["name"]: item["reason"] for item in data["float_operators"]}
    assert reasons["conv2"] == "listed in ignore_op_names"
