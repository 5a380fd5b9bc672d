"""Remove Relu and Clip operators if the saturation of the quantiser behind them does the same."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from xslim.graph.scheme import QuantParams, QuantPlan
from xslim.targets import Target


def remove_clamps(
    graph: ir.Graph, plan: QuantPlan, activations: Mapping[str, QuantParams], target: Target
) -> int:
    """Remove every Relu or Clip between an int8 operator and its quantiser whose range is within the bounds.

    Returns the number of removed nodes. The tensor behind the activation keeps its name.
    """
    int8 = plan.int8_operators
    removed = 0
    for node in list(graph):
        source, value = node.inputs[0] if node.inputs else None, node.outputs[0]
        params = activations.get(value.name or "")
        if node.name not in int8 or source is None or params is None or source.name in activations:
            continue
        bounds = target.entry(node).clamp(node)
        if bounds is None or not params.saturates_at(bounds):
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
