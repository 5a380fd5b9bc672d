"""Build the report of a run: compare both models, describe the tensors, add advice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

import onnx_ir as ir

from xslim.analysis.advice import PREPROCESSING, advise
from xslim.analysis.compare import Comparison, compare, symbol_sizes
from xslim.analysis.constants import constant_reports
from xslim.analysis.facts import float_operators, run_facts
from xslim.analysis.graph import graph_nodes
from xslim.analysis.measures import chosen_of, errors_of, histogram_of, range_of, relative_noise
from xslim.analysis.report import ModelSummary, OutputReport, Report, TensorReport, doubted, judge
from xslim.analysis.saturated import compare_behind
from xslim.analysis.seen import sample_views
from xslim.analysis.subject import Subject
from xslim.config import without_spooled
from xslim.graph.cost import ModelCost, model_cost
from xslim.graph.io import weight_bytes
from xslim.graph.outputs import values_by_name
from xslim.kernels import ErrorMetrics, Sketch
from xslim.passes.folding import fold_constants, infer_shapes
from xslim.runtime import Feeds

MOST_SAMPLES, FEWEST_SAMPLES = 16, 2
SHARE_OF_SAMPLES = 16
"""One calibration sample in sixteen is compared tensor by tensor. Each takes about five runs of a model, so
this takes less than half the time of one pass of the float model over all samples."""
CLOSER_LOOK = 24
"""Number of tensors for which the report shows the magnitude of every channel."""
IMAGE_RANK = 4
"""Tensors of this rank or more have their channels at axis 1, others at the last axis."""


def analysed_samples(calibration_samples: int) -> int:
    """Return the number of samples on which to compare tensors; their cost is below that of calibration."""
    return min(
        MOST_SAMPLES, max(FEWEST_SAMPLES, calibration_samples // SHARE_OF_SAMPLES), calibration_samples
    )


def analyse(subject: Subject) -> Report:
    """Compare the quantised model with the float model and advise how to improve the result.

    Parameters
    ----------
    subject : Subject
        Models, numbers and samples of one run.

    Returns
    -------
    Report
        The report. It depends on the subject alone, so the same run gives the same report.

    Raises
    ------
    InternalError
        One of the models does not run.
    """
    tensors = list(subject.quantization.activations)
    compared = subject.samples[
        : min(subject.unseen, MOST_SAMPLES) or analysed_samples(subject.calibration_samples)
    ]
    detailed = min(len(compared), analysed_samples(subject.calibration_samples))
    comparison = compare(
        subject.reference,
        subject.exported,
        tensors,
        subject.plan.int8_operators,
        compared,
        detailed=detailed,
        sketched=[name for name in tensors if name not in subject.sketches],
        channel_axes=_closer_look(subject),
    )
    depths = {node.name or "": index for index, node in enumerate(subject.reference.graph)}
    outputs = (
        *(
            OutputReport(name, errors_of(sums), comparison.columns[name].lost())
            for name, sums in comparison.outputs.items()
        ),
        *compare_behind(subject.reference, subject.exported, compared),
    )
    tensor_rows = tuple(_tensor_reports(subject, comparison, depths))
    facts = run_facts(subject.source, subject.date, subject.reference, subject.config, subject.preprocessing)
    report = Report(
        version=subject.version,
        model=_summary(subject),
        verdict=judge(outputs, subject.config.quantization_parameters.finetune_level),
        calibration_samples=subject.calibration_samples,
        compared_samples=len(compared),
        tensor_samples=detailed,
        compared_unseen=subject.unseen > 0,
        outputs=outputs,
        tensors=tensor_rows,
        constants=constant_reports(subject.reference, subject.quantization, depths),
        findings=(),
        steps=subject.steps,
        channel_spreads=tuple(subject.spreads),
        config=without_spooled(subject.config.model_dump(mode="json")),
        run=facts,
        float_operators=float_operators(subject.original, subject.plan.operators),
        samples=sample_views(compared, comparison.vectors, facts.inputs),
        graph=graph_nodes(
            subject.reference,
            subject.plan.int8_operators,
            {row.name: index for index, row in enumerate(tensor_rows)},
        ),
    )
    findings = advise(report, subject)
    doubtful = any(finding.code.startswith(PREPROCESSING) for finding in findings)
    verdict = doubted(report.verdict) if doubtful else report.verdict
    return replace(report, findings=findings, verdict=verdict)


def _summary(subject: Subject) -> ModelSummary:
    operators = subject.plan.operators
    cost = _cost(subject.reference, subject.samples[0])
    int8 = subject.plan.int8_operators
    reasons = Counter(operator.reason for operator in operators if not operator.int8)
    return ModelSummary(
        name=subject.name,
        operators=len(operators),
        int8_operators=len(int8),
        macs=None if cost.unknown_shapes else cost.macs,
        int8_macs=None if cost.unknown_shapes else sum(op.macs for op in cost.operators if op.name in int8),
        float_bytes=weight_bytes(subject.original),
        quantized_bytes=weight_bytes(subject.exported),
        float_reasons=dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
    )


def _cost(model: ir.Model, sample: Feeds) -> ModelCost:
    """Return the cost of one run on a sample; the sample gives the sizes of symbolic dimensions."""
    sizes = symbol_sizes(model, sample)
    shapes = [output.shape for node in model.graph for output in node.outputs]
    known = all(
        shape is not None and all(isinstance(dim, int) or str(dim.value) in sizes for dim in shape)
        for shape in shapes
    )
    return model_cost(model, sizes) if known else model_cost(_sized(model, sample))


def _sized(model: ir.Model, sample: Feeds) -> ir.Model:
    """Return the model with shapes inferred from the shapes of a sample."""
    copy = model.clone()
    for value in copy.graph.inputs:
        if value.name is not None and value.name in sample:
            value.shape = ir.Shape(sample[value.name].shape)
    outputs = [output for node in copy.graph for output in node.outputs]
    for output in outputs:
        output.shape = None
    infer_shapes(copy)
    if not all(output.shape is not None and output.shape.is_static() for output in outputs):
        # Shape arithmetic has to be folded before the shapes that depend on it can be inferred.
        fold_constants(copy)
        infer_shapes(copy)
    return copy


def _tensor_reports(
    subject: Subject, comparison: Comparison, depths: Mapping[str, int]
) -> Iterable[TensorReport]:
    values = values_by_name(subject.reference.graph)
    rows = []
    for name, params in subject.quantization.activations.items():
        sketch = subject.sketches.get(name) or comparison.sketches[name]
        node, depth = _operator_of(values[name], depths)
        accumulated = comparison.accumulated[name]
        rows.append(
            TensorReport(
                name=name,
                op_name=node.name or "" if node is not None else "",
                op_type=node.op_type if node is not None else "",
                depth=depth,
                accumulated=errors_of(accumulated),
                local=errors_of(comparison.local[name]),
                float_range=range_of(sketch),
                quantized_range=accumulated.test_range if accumulated.count else (0.0, 0.0),
                chosen=chosen_of(params, sketch, _energy(accumulated, sketch)),
                histogram=histogram_of(sketch),
                channels=tuple(float(peak) for peak in comparison.peaks.get(name, ())),
            )
        )
    return sorted(rows, key=lambda row: row.depth)


def _energy(sums: ErrorMetrics, sketch: Sketch) -> float:
    """Estimate the energy of all calibration values from the mean power of the compared values."""
    return sums.reference_energy / sums.count * sketch.count if sums.count else 0.0


def _operator_of(value: ir.Value, depths: Mapping[str, int]) -> tuple[ir.Node | None, int]:
    """Return the operator that computes a value, or else the first that reads it, and the value's depth."""
    producer = value.producer()
    if producer is not None:
        return producer, depths[producer.name or ""]
    readers = [use.node for use in value.uses() if use.node.name in depths]
    return min(readers, key=lambda node: depths[node.name or ""], default=None), -1


def _closer_look(subject: Subject) -> dict[str, int]:
    """Return the tensors whose int8 form is worst according to their sketches, with their channel axis."""
    values = values_by_name(subject.reference.graph)
    noise = {}
    for name, sketch in subject.sketches.items():
        rank = len(values[name].shape or ())
        if name in subject.quantization.activations and rank > 1:
            noise[name] = relative_noise(subject.quantization.activations[name], sketch)
    worst = sorted(noise, key=lambda name: (-noise[name], name))[:CLOSER_LOOK]
    return {name: 1 if len(values[name].shape or ()) >= IMAGE_RANK else -1 for name in worst}
