"""Replace the decode head of a YOLO detector (versions 8, 11 and 12) by one function node."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchResult
from onnxscript.rewriter.pattern import PatternBase

from xslim.graph.editing import GraphEditor
from xslim.graph.ops import constant, is_standard, producer
from xslim.passes.functions import DOMAIN, VERSION, YOLO_BODY, YOLO_BODY_WITHOUT_BINS, add_function
from xslim.passes.rules.base import Refusal, require_dim

logger = logging.getLogger(__name__)

OPERATOR = "YoloDecode"


class _Boxes(PatternBase):  # type: ignore[misc]
    """The pattern from the box logits to boxes in pixels in the heads of YOLOv8, 11 and 12.

    The distance to each side is the expectation over its bins (a Softmax and a convolution with the bin
    numbers), or the logit itself. Anchor minus and plus distance are the corners of the box; centre and
    extent follow from the corners; multiplication by the stride gives pixels.
    """

    def __init__(self, with_bins: bool, swapped: bool) -> None:
        super().__init__(f"YoloBoxes{'' if with_bins else 'WithoutBins'}")
        self.with_bins, self._swapped = with_bins, swapped

    def pattern(self, op: Any, logits: Any, w: Any, low_anchor: Any, high_anchor: Any, strides: Any) -> Any:
        """The whole pattern; constants stand last and slices are a Split (see `tidy` and `splitting`)."""
        if self.with_bins:
            turned = op.Transpose(op.Reshape(logits, _allow_other_inputs=True), _outputs=["turned"])
            mean = op.Conv(op.Softmax(turned, _outputs=["probabilities"]), w)
            distances = op.Reshape(mean, _allow_other_inputs=True)
        else:
            distances = logits
        left_top, right_bottom = op.Split(distances, _allow_other_inputs=True, _outputs=["lt", "rb"])
        low, high = op.Sub(low_anchor, left_top), op.Add(right_bottom, high_anchor)
        both = op.Add(high, low) if self._swapped else op.Add(low, high)
        centre = op.Mul(both, 0.5)
        return op.Mul(op.Concat(centre, op.Sub(high, low), axis=1), strides, _outputs=["boxes"])


@dataclass(frozen=True)
class _Head:
    """The nodes and values of a decode head."""

    concat: ir.Node
    boxes: ir.Value
    logits: ir.Value
    class_logits: ir.Value
    weight: np.ndarray[Any, Any]
    anchors: tuple[ir.Value, ir.Value]
    strides: ir.Value
    with_bins: bool

    @property
    def reg_max(self) -> int:
        """Number of bins per side."""
        return self.weight.size


def decode_heads(model: ir.Model) -> int:
    """Replace decode heads by ``spacemit_functions.YoloDecode``; return the number of replaced heads.

    The node reads (logits, bin numbers, anchors, anchors, strides) and writes boxes and class scores. Other
    outputs of a head, such as mask coefficients or key points, are not part of the node. Not replaced are
    heads whose boxes have further readers, whose classes are not a sigmoid, or whose bins are not a softmax
    over consecutive channels.
    """
    found = [head for node in list(model.graph) if (head := _match(model, node)) is not None]
    for head in found:
        _replace(model, head)
    if found:
        logger.info("%s: %d", OPERATOR, len(found))
    return len(found)


_PATTERNS = tuple(_Boxes(with_bins, swapped) for with_bins in (True, False) for swapped in (False, True))


def _match(model: ir.Model, node: ir.Node) -> _Head | None:
    if not is_standard(node, "Mul"):
        return None
    for pattern in _PATTERNS:
        match = pattern.match(model, model.graph, node)
        if not match:
            continue
        try:
            return _head(match, pattern.with_bins)
        except Refusal as refusal:
            logger.info("%s: not for %r: %s", OPERATOR, node.name, refusal)
    return None


def _head(match: MatchResult, with_bins: bool) -> _Head:
    bound = match.bindings
    boxes, logits = bound["boxes"], bound["logits"]
    readers = list(boxes.uses())
    if (
        boxes.is_graph_output()
        or len(readers) != 1
        or not is_standard(readers[0].node, "Concat")
        or readers[0].idx != 0
    ):
        raise Refusal("the boxes are not the first part of one Concat")
    concat = readers[0].node
    if concat.attributes.get_int("axis", 0) not in (1, -2):
        raise Refusal("boxes and classes are not joined along the channels")
    classes = concat.inputs[1].producer() if concat.inputs[1] is not None else None
    if classes is None or not is_standard(classes, "Sigmoid") or len(list(classes.outputs[0].uses())) != 1:
        raise Refusal("the classes are not a sigmoid of their own")
    anchors = (bound["low_anchor"], bound["high_anchor"])
    if any(constant(value) is None for value in (*anchors, bound["strides"])):
        raise Refusal("anchors or strides are computed")
    weight = _bin_numbers(bound) if with_bins else np.ones(1, np.float32)
    if require_dim(logits, 1) != 4 * weight.size:
        raise Refusal("the logits are not four sides of as many bins")
    class_logits = classes.inputs[0]
    assert class_logits is not None
    return _Head(concat, boxes, logits, class_logits, weight, anchors, bound["strides"], with_bins)


def _bin_numbers(bound: dict[str, Any]) -> np.ndarray[Any, Any]:
    weight = constant(bound["w"])
    if weight is None or weight.ndim != 4 or weight.size != weight.shape[1]:
        raise Refusal("the bins are not weighed by one number each")
    perm = list(producer(bound["turned"]).attributes.get_ints("perm") or ())
    axis = producer(bound["probabilities"]).attributes.get_int("axis", -1)
    # (N, 4, bins, A) is transposed to (N, bins, 4, A), and the softmax runs along the bins.
    if perm != [0, 2, 1, 3] or axis % 4 != 1:
        raise Refusal("the softmax does not run over the bins")
    return weight.reshape(-1)


def _replace(model: ir.Model, head: _Head) -> None:
    graph = model.graph
    add_function(model, OPERATOR, YOLO_BODY if head.with_bins else YOLO_BODY_WITHOUT_BINS)
    name = head.boxes.name
    weight = GraphEditor(graph).constant(f"{name}.bins", head.weight)
    logits = _joined_logits(graph, head)
    decode = ir.node(
        OPERATOR,
        [logits, weight, *head.anchors, head.strides],
        {"num_class": require_dim(head.class_logits, 1), "reg_max": head.reg_max},
        domain=DOMAIN,
        version=VERSION,
        name=f"{head.concat.name}.decode",
    )
    result, rest = decode.outputs[0], head.concat.inputs[2:]
    result.type = head.boxes.type
    graph.insert_before(head.concat, decode)
    if rest:
        result.name = f"{name}.decoded"
        joined = ir.node("Concat", [result, *rest], {"axis": 1}, name=head.concat.name)
        graph.insert_before(head.concat, joined)
        result = joined.outputs[0]
    old = head.concat.outputs[0]
    result.name, result.type, result.shape = old.name, old.type, old.shape
    ir.convenience.replace_all_uses_with(old, result, replace_graph_outputs=True)
    graph.remove(head.concat, safe=True)


def _joined_logits(graph: ir.Graph, head: _Head) -> ir.Value:
    """Return the tensor of box and class logits: the input of their Split, or a new Concat."""
    above = head.logits.producer()
    whole = above.inputs[0] if above is not None and is_standard(above, "Split") else None
    if (
        above is not None
        and whole is not None
        and list(above.outputs) == [head.logits, head.class_logits]
        and above.attributes.get_int("axis", 0) == 1
    ):
        return whole
    joined = ir.node(
        "Concat", [head.logits, head.class_logits], {"axis": 1}, name=f"{head.concat.name}.logits"
    )
    joined.outputs[0].name = f"{head.boxes.name}.logits"
    joined.outputs[0].type = head.logits.type
    graph.insert_before(head.concat, joined)
    return joined.outputs[0]
