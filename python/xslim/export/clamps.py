"""Activations that need no operator, because the saturation of the quantiser behind them does the same."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from xslim.graph.ops import scalar
from xslim.graph.scheme import QuantParams, QuantPlan
from xslim.targets import Operator, Target

QMIN, QMAX = -128, 127
TOLERANCE = 1e-3
"""How far, in steps, the quantiser's range may reach beyond the bounds: rounding of the scale."""


def remove_clamps(
    graph: ir.Graph, plan: QuantPlan, activations: Mapping[str, QuantParams], target: Target
) -> int:
    """Take out every Relu or Clip between an int8 operator and the quantiser that stands for both.

    Returns how many were removed. The tensor behind the activation keeps its name.
    """
    int8 = plan.int8_operators
    removed = 0
    for node in list(graph):
        source, value = node.inputs[0] if node.inputs else None, node.outputs[0]
        params = activations.get(value.name or "")
        if node.name not in int8 or source is None or params is None or source.name in activations:
            continue
        bounds = clamp_bounds(node, target.entry(node))
        if bounds is None or not covers(bounds, params):
            continue
        writer = source.producer()
        if writer is not None and writer.name in int8 and len(source.uses()) == 1:
            _remove(graph, node, source, value)
            removed += 1
    return removed


def _remove(graph: ir.Graph, node: ir.Node, source: ir.Value, value: ir.Value) -> None:
    name = value.name
    source.type, source.shape = value.type, value.shape
    value.replace_all_uses_with(source, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    value.name = None
    source.name = name


def clamp_bounds(node: ir.Node, operator: Operator) -> tuple[float, float] | None:
    """Return the interval into which the node clips its input; None for other nodes and unknown bounds."""
    if operator.bounds is not None:
        return operator.bounds
    if not operator.bounds_inputs:
        return None
    low, high = _bound(node, 1, -np.inf), _bound(node, 2, np.inf)
    return None if low is None or high is None else (low, high)


def _bound(node: ir.Node, index: int, default: float) -> float | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    return default if value is None else scalar(value)


def covers(bounds: tuple[float, float], params: QuantParams) -> bool:
    """Whether every value that the quantiser can express lies within the bounds."""
    scale, zero_point = float(params.scale), int(params.zero_point)
    low, high = (QMIN - zero_point) * scale, (QMAX - zero_point) * scale
    tolerance = scale * TOLERANCE
    return low >= bounds[0] - tolerance and high <= bounds[1] + tolerance
