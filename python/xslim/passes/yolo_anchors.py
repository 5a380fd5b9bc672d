"""Replace the decode head of an anchor-based YOLO detector (version 5) by one function node."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import MatchResult
from onnxscript.rewriter.pattern import PatternBase

from xslim.graph.ops import constant, is_standard, opset, sole_consumer
from xslim.passes.functions import DOMAIN, VERSION

logger = logging.getLogger(__name__)

OPERATOR = "YoloDecode"


class _Scale(PatternBase):  # type: ignore[misc]
    """The pattern from the logits of one scale to boxes in pixels, objectness and classes.

    All logits pass a sigmoid. Centres are ``(2 xy + grid) * stride``, extents are ``(2 wh)^2 * anchors``.
    """

    def pattern(
        self, op: Any, logits: Any, two: Any, grid: Any, stride: Any, twice: Any, anchors: Any
    ) -> Any:
        """The whole pattern; constants stand last (see `tidy`), squares are products (`rules.arithmetic`)."""
        grouped = op.Reshape(logits, _allow_other_inputs=True)
        scores = op.Sigmoid(op.Transpose(grouped))
        xy, wh, rest = op.Split(scores, _allow_other_inputs=True, _outputs=["xy", "wh", "rest"])
        centre = op.Mul(op.Add(op.Mul(xy, two), grid), stride)
        side = op.Mul(wh, twice)
        extent = op.Mul(op.Mul(side, side), anchors)
        return op.Reshape(op.Concat(centre, extent, rest), _allow_other_inputs=True, _outputs=["boxes"])


_SCALE = _Scale("YoloScale")


@dataclass(frozen=True)
class _AnchorHead:
    """The Concat over the scales, the logits of each scale, and all nodes in between in order."""

    concat: ir.Node
    logits: tuple[ir.Value, ...]
    nodes: tuple[ir.Node, ...]


def decode_anchor_heads(model: ir.Model) -> int:
    """Replace a head that decodes anchors by ``spacemit_functions.YoloDecode``; return the number, 0 or 1.

    The node reads the logits of every scale, followed by the constants of the body. A head is not replaced if
    a scale does not match the pattern, if the boxes of a scale have further readers, or if grid, stride or
    anchors are computed. Further heads stay as well, because the function has only one body.
    """
    for node in list(model.graph):
        head = _match(model, node)
        if head is not None and (DOMAIN, OPERATOR, "") not in model.functions:
            _outline(model, head)
            logger.info("%s: 1, with anchors", OPERATOR)
            return 1
    return 0


def _match(model: ir.Model, node: ir.Node) -> _AnchorHead | None:
    if not is_standard(node, "Concat") or len(node.inputs) < 2:
        return None
    found: list[MatchResult] = []
    for value in node.inputs:
        above = value.producer() if value is not None else None
        match = _SCALE.match(model, model.graph, above) if above is not None else None
        if not match or not _is_constant(match) or sole_consumer(match.bindings["boxes"]) is not node:
            return None
        found.append(match)
    inside = {id(inner) for match in found for inner in match.nodes} | {id(node)}
    return _AnchorHead(
        node,
        tuple(match.bindings["logits"] for match in found),
        tuple(inner for inner in model.graph if id(inner) in inside),
    )


def _is_constant(match: MatchResult) -> bool:
    names = ("two", "grid", "stride", "twice", "anchors")
    return all(constant(match.bindings[name]) is not None for name in names)


def _outline(model: ir.Model, head: _AnchorHead) -> None:
    """Move the nodes of the head into a function body; every constant becomes an input."""
    graph = model.graph
    produced = {value for node in head.nodes for value in node.outputs}
    outside = dict.fromkeys(
        value
        for value in (*head.logits, *(value for node in head.nodes for value in node.inputs))
        if value is not None and value not in produced
    )
    inner = {value: ir.Value(name=f"in{index}") for index, value in enumerate(outside)}
    body = [_copy(node, inner, index) for index, node in enumerate(head.nodes)]
    old = head.concat.outputs[0]
    imports = {"": opset(model)}
    function_graph = ir.Graph(
        [inner[value] for value in outside], [inner[old]], nodes=body, opset_imports=imports
    )
    function = ir.Function(DOMAIN, OPERATOR, graph=function_graph, attributes=[])
    model.functions[function.identifier()] = function
    model.opset_imports[DOMAIN] = VERSION
    call = ir.node(OPERATOR, list(outside), domain=DOMAIN, version=VERSION, name=f"{head.concat.name}.decode")
    graph.insert_before(head.concat, call)
    result = call.outputs[0]
    result.name, result.type, result.shape = old.name, old.type, old.shape
    ir.convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
    graph.remove(list(head.nodes), safe=True)


def _copy(node: ir.Node, inner: dict[ir.Value, ir.Value], index: int) -> ir.Node:
    copied = ir.Node(
        node.domain,
        node.op_type,
        [None if value is None else inner[value] for value in node.inputs],
        list(node.attributes.values()),
        num_outputs=len(node.outputs),
        name=f"{node.op_type}_{index}",
    )
    for number, (value, copy) in enumerate(zip(node.outputs, copied.outputs, strict=True)):
        copy.name = f"v{index}_{number}"
        inner[value] = copy
    return copied
