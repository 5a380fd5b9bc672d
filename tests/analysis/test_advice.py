"""Advice is given for broken runs, with JSON that loads as a configuration, and not for good runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests import models
from tests.analysis.subjects import make_subject, mixed_head, pictures
from tests.quantization.build import graph
from xslim.analysis import Finding, Report, Subject, analyse
from xslim.analysis.advice import advise
from xslim.analysis.advice.layers import float_branch, outlier_channels
from xslim.analysis.report import Verdict
from xslim.config import Config, load_config


def merge(base: dict[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """Merge objects; anything else replaces what is there."""
    merged = dict(base)
    for key, value in change.items():
        merged[key] = merge(base.get(key, {}), value) if isinstance(value, Mapping) else value
    return merged


def acted_upon(subject: Subject, finding: Finding) -> Config:
    """The configuration with the finding's change merged in."""
    return load_config(merge(subject.config.model_dump(mode="json", exclude_unset=True), finding.change))


def codes(report: Report) -> list[str]:
    return [finding.code for finding in report.findings]


def only(subject: Subject) -> Finding:
    (finding,) = analyse(subject).findings
    assert finding.evidence
    return finding


def colours(mean: float = 0.0, std: float = 1.0, count: int = 16) -> list[np.ndarray]:
    """Samples as pictures make them under a mean and a deviation."""
    generator = np.random.default_rng(1)
    return [((generator.uniform(0, 255, (1, 3, 8, 8)) - mean) / std).astype(np.float32) for _ in range(count)]


def test_silent_on_a_good_run(report: Report) -> None:
    assert report.verdict.level == "good"
    assert report.findings == ()


def test_mean_from_0_to_1(tmp_path: Path) -> None:
    entry = {"mean_value": [0.485, 0.456, 0.406], "std_value": [0.229, 0.224, 0.225], "color_format": "rgb"}
    subject = make_subject(tmp_path, models.conv_net(), colours(0.45, 0.225), entry=entry)
    finding = only(subject)
    assert finding.code == "preprocessing.mean-scale"
    assert finding.evidence["fed_range"][1] > 1000
    (fixed,) = acted_upon(subject, finding).calibration_parameters.input_parameters
    assert fixed.mean_value == pytest.approx((123.675, 116.28, 103.53))
    assert fixed.data_list_path == subject.config.calibration_parameters.input_parameters[0].data_list_path


@pytest.mark.parametrize(
    ("mean", "given", "expected"),
    [
        ([123.675, 116.28, 103.53], "bgr", "rgb"),
        ([103.53, 116.28, 123.675], "rgb", "bgr"),
        ([123.675, 116.28, 103.53], "rgb", None),
        ([103.94, 116.78, 123.68], "bgr", None),
    ],
)
def test_the_order_of_a_known_mean(
    tmp_path: Path, mean: list[float], given: str, expected: str | None
) -> None:
    entry = {"mean_value": mean, "std_value": [58.0, 57.0, 57.0], "color_format": given}
    subject = make_subject(tmp_path, models.conv_net(), colours(116, 57), entry=entry)
    found = analyse(subject).findings
    if expected is None:
        assert found == ()
        return
    (finding,) = found
    assert finding.code == "preprocessing.swapped-channels"
    assert acted_upon(subject, finding).calibration_parameters.input_parameters[0].color_format == expected


@pytest.mark.parametrize("given", ["rgb", "bgr"])
def test_swapped_channels_show_in_the_confidence_of_a_classifier(tmp_path: Path, given: str) -> None:
    # Two classes: more of the first channel than of the last, or less. The pictures are clearly one of the
    # two in the order rgb; the model also knows pictures without contrast, and is sure of nothing then.
    weight = np.zeros((3, 3), np.float32)
    weight[0], weight[1] = [4, 0, 0], [0, 0, 0.1]
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["g"], name="gap"),
        helper.make_node("Flatten", ["g"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "w"], ["y"], name="fc", transB=1),
    ]
    proto = models.model(nodes, {"x": [1, 3, 4, 4]}, {"y": [1, 3]}, {"w": weight})
    samples = []
    for picture in pictures(16, (1, 3, 4, 4)):
        picture[:, 0] += 2
        samples.append(picture if given == "rgb" else np.ascontiguousarray(picture[:, ::-1]))
    entry = {"mean_value": [127.0], "std_value": [127.0], "color_format": given}
    subject = make_subject(tmp_path, proto, samples, entry=entry)
    found = [finding for finding in analyse(subject).findings if finding.code.startswith("preprocessing")]
    if given == "rgb":
        assert found == []
        return
    (finding,) = found
    assert finding.code == "preprocessing.swapped-channels"
    assert finding.evidence["confidence_gain_when_swapped"] > 0.15
    assert acted_upon(subject, finding).calibration_parameters.input_parameters[0].color_format == "rgb"


def test_three_samples(tmp_path: Path) -> None:
    subject = make_subject(tmp_path, models.conv_net(), pictures(3), calibration={"calibration_step": 3})
    finding = only(subject)
    assert finding.code == "samples.few"
    assert finding.evidence["calibration_samples"] == 3
    assert acted_upon(subject, finding).calibration_parameters.calibration_step == 100


def test_ranges_that_grow_at_the_end(tmp_path: Path) -> None:
    samples = pictures(20)
    samples[16:] = [10 * sample for sample in samples[16:]]
    subject = make_subject(tmp_path, models.conv_net(), samples)
    finding = next(found for found in analyse(subject).findings if found.code == "samples.growing")
    assert finding.evidence["share_of_growing_tensors"] == 1
    assert acted_upon(subject, finding).calibration_parameters.calibration_step == 200


def test_percentile_too_low(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    heavy = [generator.standard_t(4, (1, 3, 8, 8)).astype(np.float32) for _ in range(32)]
    low = {"calibration": {"calibration_type": "percentile"}, "quantization": {"max_percentile": 0.99}}
    subject = make_subject(tmp_path, models.conv_net(), heavy, **low)
    finding = only(subject)
    assert finding.code == "ranges.clipping"
    assert all(entry["clipped_share"] > 0.002 for entry in finding.evidence.values())
    assert acted_upon(subject, finding).calibration_parameters.calibration_type == "default"
    (tmp_path / "again").mkdir()
    again = make_subject(
        tmp_path / "again", models.conv_net(), heavy, calibration={"calibration_type": "default"}
    )
    assert analyse(again).findings == ()


def test_a_detection_head_that_mixes_scales(tmp_path: Path) -> None:
    subject = make_subject(tmp_path, mixed_head(), pictures(20))
    finding = only(subject)
    assert finding.code == "ranges.mixed-concat"
    assert finding.where == ("join", "scores")
    assert finding.evidence["scores"]["steps_behind_the_concat"] < 1
    quantization = acted_upon(subject, finding).quantization_parameters
    assert quantization.ignore_op_names == ("join",)
    (tmp_path / "again").mkdir()
    again = make_subject(
        tmp_path / "again", mixed_head(), pictures(20), quantization={"ignore_op_names": ["join"]}
    )
    assert "ranges.mixed-concat" not in codes(analyse(again))


def test_two_heads_are_cured_by_one_change(tmp_path: Path) -> None:
    subject = make_subject(tmp_path, mixed_head(("", "2")), pictures(20))
    found = analyse(subject).findings
    assert [finding.code for finding in found] == ["ranges.mixed-concat"] * 2
    for finding in found:
        assert acted_upon(subject, finding).quantization_parameters.ignore_op_names == ("join", "join2")


def test_victims_of_a_mixed_concat_are_no_findings(tmp_path: Path) -> None:
    subject = make_subject(tmp_path, mixed_head(), pictures(20))
    report = analyse(subject)
    rows = tuple(replace(row, local=replace(row.local, noise_ratio=0.5)) for row in report.tensors)
    poor = replace(report, tensors=rows, verdict=Verdict("poor", ""))
    assert float_branch(poor, subject)
    assert [finding.code for finding in advise(report, subject)] == ["ranges.mixed-concat"]
    assert "accuracy.float-branch" not in {finding.code for finding in advise(poor, subject)}


def test_a_poor_result_names_its_cause(subject: Subject, report: Report) -> None:
    rows = tuple(
        replace(row, local=replace(row.local, noise_ratio=0.5)) if row.name == "r2" else row
        for row in report.tensors
    )
    poor = replace(report, tensors=rows, verdict=Verdict("poor", ""))
    (finding,) = float_branch(poor, subject)
    assert finding.where == ("relu2",)
    assert finding.evidence["relu2"]["local_snr"] == 0.5
    assert acted_upon(subject, finding).quantization_parameters.ignore_op_names == ("relu2",)
    (many,) = float_branch(replace(report, verdict=Verdict("poor", "")), subject)
    assert many.code == "accuracy.accumulates"
    assert acted_upon(subject, many).quantization_parameters.finetune_level == 1


def test_channels_that_take_the_whole_range(subject: Subject, report: Report) -> None:
    rows = tuple(
        replace(row, local=replace(row.local, noise_ratio=0.05), channels=(1.0, 1.0, 100.0, 1.0))
        if row.name == "r1"
        else row
        for row in report.tensors
    )
    assert outlier_channels(replace(report, tensors=rows), subject) == []
    (finding,) = outlier_channels(replace(report, tensors=rows, verdict=Verdict("poor", "")), subject)
    assert finding.evidence["r1"] == {"largest_channel": 2, "largest_over_median": 100.0, "local_snr": 0.05}


def test_inputs_outside_every_usual_range(tmp_path: Path) -> None:
    subject = make_subject(tmp_path, models.conv_net(), [1000 * sample for sample in pictures(16)])
    assert "preprocessing.odd-input" in codes(analyse(subject))


def scaled_head() -> onnx.ModelProto:
    """A head whose last convolution writes four columns in pixels: one scale for boxes and scores."""
    last = models.draw(2, 9, 16, 1, 1)
    last[:4] *= 640
    text = """(float[1,3,8,8] x) => (float[1,9,8,8] y) {
        a = Conv <pads=[1,1,1,1]> (x, w)
        b = Relu(a)
        y = Conv(b, v)
    }"""
    return graph(text, {"w": models.draw(1, 16, 3, 3, 3), "v": last})


def test_lost_scores_are_found_and_the_advice_mends_them(tmp_path: Path) -> None:
    subject = make_subject(tmp_path, scaled_head(), pictures(24))
    report = analyse(subject)
    (finding,) = [finding for finding in report.findings if finding.code == "outputs.lost-columns"]
    assert report.verdict.level == "good"
    assert finding.title == "The columns 4 to 8 of y are lost"
    assert finding.evidence["columns_sqnr_db"] < 6
    mended = acted_upon(subject, finding)
    (tmp_path / "again").mkdir()
    wanted = mended.quantization_parameters.model_dump(mode="json", exclude_unset=True)
    again = make_subject(tmp_path / "again", scaled_head(), pictures(24), quantization=wanted)
    assert "outputs.lost-columns" not in codes(analyse(again))
    assert len(again.plan.int8_operators) == 2
