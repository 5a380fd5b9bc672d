"""Compare int8 constants with their float values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.analysis.measures import errors_of, histogram_of, range_of
from xslim.analysis.report import ConstantReport, HistogramPair, Range
from xslim.errors import InternalError
from xslim.graph.scheme import ConstantPlan, Quantization, QuantizedTensor
from xslim.kernels import ErrorMetrics, Sketch

SHOWN_CHANNELS = 64
CLOSER_LOOK = 12
"""Number of constants, the worst first, for which the report shows histograms before and after."""
PAIR_BINS, ROOM = 48, 1 / 256


def constant_reports(
    reference: ir.Model, quantization: Quantization, depths: Mapping[str, int]
) -> tuple[ConstantReport, ...]:
    """Compare every int8 constant with its float values, in the order of the operators that read them."""
    nodes = {node.name or "": node for node in reference.graph}
    reports = [
        _report(plan, stored, reference, nodes[plan.readers[0]], depths[plan.readers[0]])
        for plan, stored in quantization.constants.items()
    ]
    ordered = sorted(reports, key=lambda item: (item[0].depth, item[0].name))
    worst = sorted(ordered, key=lambda item: (item[0].errors.sqnr_db, item[0].depth))[:CLOSER_LOOK]
    shown = {report.name for report, _ in worst}
    return tuple(
        replace(report, histograms=_before_and_after(*sketches)) if report.name in shown else report
        for report, sketches in ordered
    )


def _before_and_after(before: Sketch, after: Sketch) -> HistogramPair:
    """Count the float and the int8 values in the same bins."""
    bounds = [range_of(before), range_of(after)]
    low, high = min(bound[0] for bound in bounds), max(bound[1] for bound in bounds)
    if not low < high:
        low, high = low - 0.5, high + 0.5
    # The last bin is open at its end: a little room lets it hold the largest value.
    low, high = low - ROOM * (high - low), high + ROOM * (high - low)
    counts = (tuple(map(int, sketch.histogram(PAIR_BINS, low, high))) for sketch in (before, after))
    return HistogramPair(low, high, *counts)


def _report(
    plan: ConstantPlan, stored: QuantizedTensor, reference: ir.Model, node: ir.Node, depth: int
) -> tuple[ConstantReport, tuple[Sketch, Sketch]]:
    tensor = reference.graph.initializers[plan.tensor].const_value
    if tensor is None:
        raise InternalError("a constant has lost its data", where=plan.tensor)
    values = np.ascontiguousarray(tensor.numpy(), np.float32)
    restored = _restored(stored)
    metrics, sketch, after = ErrorMetrics(), Sketch(), Sketch()
    metrics.update(values, restored)
    sketch.observe(values)
    after.observe(restored)
    channels = _channel_ranges(values, plan.axis)
    report = ConstantReport(
        name=plan.tensor,
        op_name=node.name or "",
        op_type=node.op_type,
        depth=depth,
        axis=plan.axis,
        channel_count=len(channels),
        channel_ranges=_joined(channels),
        errors=errors_of(metrics),
        float_range=range_of(sketch),
        quantized_range=(float(restored.min(initial=0)), float(restored.max(initial=0))),
        histogram=histogram_of(sketch),
    )
    return report, (sketch, after)


def _restored(stored: QuantizedTensor) -> NDArray[np.float32]:
    params = stored.params
    shape = [1] * stored.values.ndim
    if params.axis is not None:
        shape[params.axis] = -1
    steps = stored.values.astype(np.float32) - params.zero_point.astype(np.float32).reshape(shape)
    return np.ascontiguousarray(steps * params.scale.reshape(shape))


def _channel_ranges(values: NDArray[np.float32], axis: int | None) -> list[Range]:
    rows = values.reshape(1, -1) if axis is None else np.moveaxis(values, axis, 0)
    rows = rows.reshape(rows.shape[0], -1)
    lows, highs = rows.min(axis=1, initial=0), rows.max(axis=1, initial=0)
    return [(float(low), float(high)) for low, high in zip(lows, highs, strict=True)]


def _joined(channels: list[Range]) -> tuple[Range, ...]:
    """Merge the ranges of neighbouring channels until at most 64 ranges remain."""
    size = -(-len(channels) // SHOWN_CHANNELS)
    groups = [channels[start : start + size] for start in range(0, len(channels), size)]
    return tuple((min(low for low, _ in group), max(high for _, high in group)) for group in groups)
