"""Find the operators that move data and add a constant of their own to it, as Pad does.

The result shares the parameters of the input, so the constant must lie within their range: the result is
observed too. Where the constant lies so far away that the range would lose the data, the operator is float.
A constant below the data needs no place in the range if only maxima read it: int8 clips it to the smallest
value, and no maximum takes that from the data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from xslim.graph.outputs import values_by_name
from xslim.graph.scheme import QuantPlan
from xslim.kernels import Sketch
from xslim.quantization.flow import Flow

Range = tuple[float, float]

FAR_RATIO = 4.0
"""A constant that makes a range this many times as wide takes two of the eight bits from the data."""


def filled(values: Iterable[ir.Value], flow: Flow) -> dict[ir.Value, float | None]:
    """Return the tensors that hold a visible constant besides the data, each with the constant.

    None stands for a number that is known at run time only. Zero is in every range.
    """
    found: dict[ir.Value, float | None] = {}
    for value in values:
        node = value.producer()
        if node is None or value not in flow.moved:
            continue
        fill = flow.entry(node).fill(node)
        if fill is None or fill > 0 or (fill < 0 and not _is_pooled(value, flow)):
            found[value] = fill
    return found


def _is_pooled(value: ir.Value, flow: Flow) -> bool:
    """Whether only operators that take a maximum read the value."""
    readers = [use.node for use in value.uses()]
    return bool(readers) and not value.is_graph_output() and all(flow.entry(node).pools for node in readers)


def widened(known: Range | None, fills: Iterable[float | None]) -> Range | None:
    """Return a known range together with constants, or None if one of them is unknown."""
    for fill in fills:
        if known is None or fill is None:
            return None
        known = min(known[0], fill), max(known[1], fill)
    return known


def far_fills(graph: ir.Graph, plan: QuantPlan, sketches: Mapping[str, Sketch]) -> dict[str, str]:
    """Return the tensors that hold a constant far from their data, each with the reason to stay float.

    These are the results of the operators that add the constant, and what is only moved from there.
    """
    reason = "its constant lies far outside of the data; one scale for both would lose the data"
    values = values_by_name(graph)
    far = (
        name
        for group in plan.groups
        for name in group.observed[1:]
        if _width(sketches[name]) >= FAR_RATIO * _width(sketches[group.observed[0]]) > 0
    )
    return {moved: reason for name in far for moved in _moved_from(values[name], plan)}


def _moved_from(value: ir.Value, plan: QuantPlan) -> list[str]:
    """Return the names of a tensor and of all tensors that it is moved or joined to."""
    groups = {name: number for number, group in enumerate(plan.groups) for name in group.tensors}
    joined = {concat.output for concat in plan.concats}
    found, waiting = dict[ir.Value, None](), [value]
    while waiting:
        found[here := waiting.pop()] = None
        for use in here.uses():
            for result in use.node.outputs:
                name = result.name or ""
                shares = groups.get(name, -1) == groups.get(here.name or "", -2)
                if result not in found and (shares or name in joined):
                    waiting.append(result)
    return [each.name or "" for each in found]


def _width(sketch: Sketch) -> float:
    return 0.0 if sketch.is_empty else max(sketch.max, 0.0) - min(sketch.min, 0.0)
