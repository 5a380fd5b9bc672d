"""Replace sizes that a model reads from shapes by constants if the sizes are known."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.editing import GraphEditor
from xslim.graph.ops import constant, integers, is_standard

# An array of objects: integers, and another object for an unknown dimension.
_Sizes: TypeAlias = NDArray[Any]

_WHOLE = np.iinfo(np.int64).max


def known_sizes(model: ir.Model) -> bool:
    """Replace Gather and Slice of a Shape by constants if the sizes they select are known.

    Exporters compute paddings and target shapes from single sizes. With constant sizes, folding evaluates
    that arithmetic exactly. onnxslim evaluates it as well, but wrongly: it takes the rows of a matrix for
    elements. Returns whether anything changed; shape inference may then find further sizes.
    """
    changed = False
    for graph in model.graphs():
        editor = GraphEditor(graph)
        for node in tuple(graph):
            sizes = _sizes(node)
            if sizes is None or node.outputs[0].is_graph_output():
                continue
            known = editor.constant(f"{node.outputs[0].name}_known", sizes)
            node.outputs[0].replace_all_uses_with(known)
            graph.remove(node, safe=True)
            changed = True
    return changed


def _sizes(node: ir.Node) -> _Sizes | None:
    """Return the sizes that the node selects from a shape, or None if one of them is unknown."""
    if not is_standard(node, "Gather", "Slice"):
        return None
    shape = _shape(node.inputs[0])
    taken = (
        None if shape is None else _gathered(node, shape) if node.op_type == "Gather" else _cut(node, shape)
    )
    if taken is None or not all(isinstance(size, int) for size in taken.flat):
        return None
    return taken.astype(np.int64)


def _shape(value: ir.Value | None) -> _Sizes | None:
    """Return the result of a Shape node, or None if the value is not the output of one."""
    node = None if value is None else value.producer()
    if node is None or not is_standard(node, "Shape") or node.inputs[0] is None:
        return None
    shape = node.inputs[0].shape
    if shape is None:
        return None
    first, last = node.attributes.get_int("start", 0), node.attributes.get_int("end", _WHOLE)
    return np.array(list(shape)[first:last], object)


def _gathered(node: ir.Node, shape: _Sizes) -> _Sizes | None:
    indices = constant(node.inputs[1])
    if indices is None:
        return None
    axes = indices.astype(np.int64)
    if (axes < -len(shape)).any() or (axes >= len(shape)).any():
        return None
    return np.asarray(shape[axes], object)


def _cut(node: ir.Node, shape: _Sizes) -> _Sizes | None:
    """Return the sizes that a Slice selects; its bounds are inputs since opset 10, attributes before."""
    first, last, axes, step = ([*map(integers, node.inputs[1:]), None, None, None, None])[:4]
    given = len(node.inputs)
    if first is None or last is None or (given > 4 and node.inputs[4] is not None and step is None):
        return None
    if len(first) != 1 or axes not in (None, [0], [-1]) or step == [0]:
        return None
    # numpy takes nothing where ONNX clamps a bound below the first element, so such a Slice is left alone.
    if step is not None and step[0] < 0 and first[0] < -len(shape):
        return None
    return shape[first[0] : last[0] : step[0] if step else 1]
