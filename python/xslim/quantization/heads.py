"""Find heads that join results of different scale on the way to an output.

A detector joins boxes of 0 to 640 with scores of 0 to 1, or with their logits. In int8 the joined tensor has
one scale, whose step is larger than the scores: the boxes stay good and every score is lost, while the
signal-to-noise ratio of the whole tensor looks fine. Such a joint stays float with all that follows: the
branches keep parameters of their own, and no sum of products becomes float.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from xslim.graph.outputs import values_by_name
from xslim.graph.scheme import ConcatPlan, QuantPlan
from xslim.graph.tail import tail_values
from xslim.kernels import Sketch

SCALE_RATIO = 8.0
"""A tensor that shares a range this many times as wide as its own loses three of its eight bits."""


def mixed_heads(graph: ir.Graph, plan: QuantPlan, sketches: Mapping[str, Sketch]) -> dict[str, str]:
    """Return the tensors of heads that join results of different scale, each with the reason to stay float.

    Parameters
    ----------
    graph : onnx_ir.Graph
        The graph of the plan.
    plan : QuantPlan
        The plan, in which a Concat may be int8.
    sketches : mapping of str to Sketch
        Sketches of the observed tensors.
    """
    spans = _spans(plan, sketches)
    values, tail = values_by_name(graph), tail_values(graph)
    found: dict[str, str] = {}
    for concat in plan.concats:
        narrow = _narrowest(concat, spans)
        if narrow is not None and values[concat.output] in tail:
            reason = f"it joins {narrow} with a tensor of far wider range; one scale for both would lose it"
            found.update(dict.fromkeys(_behind(values[concat.output]), reason))
    return found


def _spans(plan: QuantPlan, sketches: Mapping[str, Sketch]) -> dict[str, float]:
    """Return the width of the range of every int8 activation."""
    spans = {}
    for group in plan.groups:
        seen = [sketches[name] for name in group.observed if name in sketches]
        full = [sketch for sketch in seen if not sketch.is_empty]
        if full:
            low, high = min(sketch.min for sketch in full), max(sketch.max for sketch in full)
            spans.update(dict.fromkeys(group.tensors, max(high, 0.0) - min(low, 0.0)))
    return spans


def _narrowest(concat: ConcatPlan, spans: Mapping[str, float]) -> str | None:
    """Return the input of the narrowest range if the joined range is far wider, else None."""
    known = {name: spans[name] for name in concat.inputs if spans.get(name, 0.0) > 0}
    if len(known) < 2:
        return None
    narrow = min(known, key=lambda name: known[name])
    return narrow if max(known.values()) >= SCALE_RATIO * known[narrow] else None


def _behind(value: ir.Value) -> set[str]:
    """Return the names of a value and of all values that are computed from it."""
    found: set[str] = set()
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if current.name and current.name not in found:
            found.add(current.name)
            waiting.extend(output for use in current.uses() for output in use.node.outputs)
    return found
