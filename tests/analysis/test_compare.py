"""Accumulated and local errors against an oracle of onnxruntime and numpy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper

from tests import models
from tests.analysis.subjects import make_subject, pictures
from xslim.analysis import Report, Subject, analyse
from xslim.analysis.compare import Comparison, compare
from xslim.analysis.report import compared_words
from xslim.graph.io import to_proto
from xslim.graph.outputs import with_outputs
from xslim.graph.scheme import QuantParams

Array = NDArray[np.float32]


def run(proto: onnx.ModelProto, feeds: dict[str, Array]) -> dict[str, Array]:
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds), strict=True))


def fake_quantize(values: Array, params: QuantParams) -> Array:
    steps = np.rint(values / params.scale) + params.zero_point
    return ((np.clip(steps, -128, 127) - params.zero_point) * params.scale).astype(np.float32)


def snr(expected: list[Array], found: list[Array]) -> float:
    reference, test = np.concatenate(expected), np.concatenate(found)
    return float(((reference - test) ** 2).sum(dtype=np.float64) / (reference**2).sum(dtype=np.float64))


def tensors(subject: Subject) -> list[str]:
    return list(subject.quantization.activations)


def numbers(comparison: Comparison) -> list[tuple[float, ...]]:
    groups = (comparison.accumulated, comparison.local, comparison.outputs)
    return [(sums.noise_ratio, sums.mse, sums.cosine) for group in groups for sums in group.values()]


def compare_all(subject: Subject, **options: int) -> Comparison:
    return compare(
        subject.reference,
        subject.exported,
        tensors(subject),
        subject.plan.int8_operators,
        subject.samples,
        **options,
    )


def test_accumulated_error_is_that_of_the_exported_model(subject: Subject) -> None:
    names = tensors(subject)
    original = to_proto(with_outputs(subject.reference, names))
    exported = to_proto(with_outputs(subject.exported, [f"{name}_dequantized" for name in names]))
    expected = [run(original, dict(sample)) for sample in subject.samples]
    found = [run(exported, dict(sample)) for sample in subject.samples]
    accumulated = compare_all(subject).accumulated
    for name in names:
        wanted = snr(
            [arrays[name] for arrays in expected], [arrays[f"{name}_dequantized"] for arrays in found]
        )
        assert accumulated[name].noise_ratio == pytest.approx(wanted, rel=1e-5), name


def test_output_error_is_that_of_the_whole_model(subject: Subject) -> None:
    expected = [run(to_proto(subject.reference), dict(sample))["y"] for sample in subject.samples]
    found = [run(to_proto(subject.exported), dict(sample))["y"] for sample in subject.samples]
    assert compare_all(subject).outputs["y"].noise_ratio == pytest.approx(snr(expected, found), rel=1e-5)


def test_local_error_is_that_of_one_operator_on_exact_inputs(subject: Subject) -> None:
    params = subject.quantization.activations
    stored = next(item for item in subject.quantization.constants.items() if "conv2" in item[0].readers)[1]
    weight = (stored.values * stored.params.scale.reshape(-1, 1, 1, 1)).astype(np.float32)
    bias = subject.reference.graph.initializers["b2"].const_value
    assert bias is not None
    nodes = [
        helper.make_node("Conv", ["p1", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
    ]
    alone = models.model(nodes, {"p1": [1, 8, 4, 4]}, {"r": [1, 16, 4, 4]}, {"w": weight, "b": bias.numpy()})
    original = to_proto(with_outputs(subject.reference, ["p1", "r2"]))
    expected, found = [], []
    for sample in subject.samples:
        exact = run(original, dict(sample))
        inner = run(alone, {"p1": fake_quantize(exact["p1"], params["p1"])})["r"]
        expected.append(exact["r2"])
        found.append(fake_quantize(inner, params["r2"]))
    assert compare_all(subject).local["r2"].noise_ratio == pytest.approx(snr(expected, found), rel=1e-4)


def test_a_bad_range_is_a_cause_where_it_is_and_makes_victims_after_it(subject: Subject) -> None:
    good = {row.name: row for row in analyse(subject).tensors}
    params = subject.quantization.activations["r1"]
    worse = dict(subject.quantization.activations)
    for name in ("r1", "p1"):
        worse[name] = QuantParams(np.asarray(params.scale * 150, np.float32), params.zero_point)
    from xslim.export.qdq import export_qdq
    from xslim.targets import load_target

    quantization = replace(subject.quantization, activations=worse)
    exported = export_qdq(subject.reference, subject.plan, quantization, load_target())
    rows = {
        r.name: r for r in analyse(replace(subject, quantization=quantization, exported=exported)).tensors
    }
    assert rows["r1"].local.noise_ratio > 0.1 > good["r1"].local.noise_ratio
    assert rows["f"].accumulated.noise_ratio > 10 * good["f"].accumulated.noise_ratio
    assert rows["f"].local.noise_ratio == pytest.approx(good["f"].local.noise_ratio)


def test_several_rounds_give_the_numbers_of_one(subject: Subject) -> None:
    assert numbers(compare_all(subject, memory_bytes=1)) == numbers(compare_all(subject))


@pytest.mark.parametrize("memory_bytes", [1, 1 << 30])
def test_tensors_are_compared_on_few_samples_and_outputs_on_all(subject: Subject, memory_bytes: int) -> None:
    found = compare_all(subject, detailed=2, memory_bytes=memory_bytes)
    few = compare_all(replace(subject, samples=subject.samples[:2]))
    every = compare_all(subject)
    for name in tensors(subject):
        assert found.accumulated[name].noise_ratio == few.accumulated[name].noise_ratio
        assert found.local[name].noise_ratio == few.local[name].noise_ratio
        assert found.accumulated[name].count < every.accumulated[name].count
    assert found.outputs["y"].count == every.outputs["y"].count
    assert found.outputs["y"].noise_ratio == pytest.approx(every.outputs["y"].noise_ratio, rel=1e-4)
    assert len(found.vectors) == len(subject.samples) > 2


def test_the_report_says_on_how_many_samples_tensors_were_compared(subject: Subject) -> None:
    seen = replace(subject, unseen=4, calibration_samples=20)
    assert str(compared_words(analyse(seen))) == "4 others compared, 2 of them tensor by tensor"
    many = replace(seen, calibration_samples=100)
    assert str(compared_words(analyse(many))) == "4 others compared"


def test_the_number_of_threads_does_not_matter(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for threads in ("1", "3"):
        monkeypatch.setenv("XSLIM_THREADS", threads)
        found.append(numbers(compare_all(subject)))
    assert found[0] == found[1]


def test_peaks_are_the_largest_magnitudes_per_channel(subject: Subject) -> None:
    found = compare(
        subject.reference,
        subject.exported,
        ["r1"],
        subject.plan.int8_operators,
        subject.samples,
        channel_axes={"r1": 1},
    )
    original = to_proto(with_outputs(subject.reference, ["r1"]))
    arrays = np.concatenate([run(original, dict(sample))["r1"] for sample in subject.samples])
    np.testing.assert_allclose(found.peaks["r1"], np.abs(arrays).max(axis=(0, 2, 3)), rtol=1e-6)


def test_every_int8_tensor_and_constant_has_a_row(subject: Subject, report: Report) -> None:
    assert {row.name for row in report.tensors} == set(subject.quantization.activations)
    assert {row.name for row in report.constants} == {plan.tensor for plan in subject.quantization.constants}
    depths = [row.depth for row in report.tensors]
    assert depths == sorted(depths)
    assert depths[0] == -1


def test_summary_counts_what_is_int8(subject: Subject, report: Report) -> None:
    # conv1: 8 x 27 weights on 64 positions, conv2: 16 x 72 on 16, fc: 160.
    assert report.model.macs == 8 * 27 * 64 + 16 * 72 * 16 + 160
    assert report.model.int8_macs == report.model.macs
    assert report.model.int8_operators == len(subject.plan.int8_operators)
    assert report.compared_samples == 4
    assert report.compared_unseen
    assert report.calibration_samples == 28


def test_symbolic_sizes_are_those_of_the_samples(tmp_path: Path) -> None:
    weights = {"w": models.draw(1, 16, 4)}
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    proto = models.model([node], {"x": ["batch", "length", 16]}, {"y": ["batch", "length", 4]}, weights)
    subject = make_subject(tmp_path, proto, pictures(4, (1, 7, 16)))
    assert analyse(subject).model.macs == 7 * 16 * 4
