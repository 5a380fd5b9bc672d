"""Merge chains of Slice, Transpose and Reshape, and make computed targets of Reshape constant.

onnxslim does the same, but takes as long as all other steps of a preparation together. Nodes and constants
get the names that onnxslim would give them.
"""

from __future__ import annotations

import logging
import math

import numpy as np
import onnx_ir as ir

from xslim.graph.editing import GraphEditor
from xslim.graph.ops import constant, integers, is_standard, opset, rank, static_shape
from xslim.passes.folding import remove_unused

logger = logging.getLogger(__name__)

# The first opset in which Slice and Reshape have their parameters as inputs.
_PARAMETERS_AS_INPUTS = 10
# The input of a Slice by the suffix of its name.
_BOUNDS = ("starts", "ends", "axes", "steps")


def merge_chains(model: ir.Model) -> int:
    """Merge chains of nodes that only move data, and return the number of nodes that became simpler.

    - A Slice of a Slice along other axes becomes one Slice.
    - A Transpose that moves axes of size 1 only, and stands next to a Reshape, becomes a Reshape.
    - A Reshape of a Reshape becomes one Reshape.
    - A Reshape that keeps one unknown size of its input, which is read with Shape, gets a constant target.
    """
    if opset(model) < _PARAMETERS_AS_INPUTS:
        return 0
    made = 0
    for graph in model.graphs():
        editor = GraphEditor(graph)
        for node in tuple(graph):
            made += _fix_target(editor, node) or _as_reshape(editor, node)
        while merged := _merge_once(editor):
            made += merged
    if made:
        logger.info("chains of Slice, Transpose and Reshape: %d nodes became simpler", made)
        remove_unused(model)
    return made


def _merge_once(editor: GraphEditor) -> int:
    """Merge every chain by one node, from behind; the names are those of the shorter chains."""
    merged = 0
    for node in reversed(tuple(editor.graph)):
        if node.graph is not None:
            merged += _merge_reshapes(editor, node) or _merge_slices(editor, node)
    return merged


def _fix_target(editor: GraphEditor, node: ir.Node) -> bool:
    """Replace the computed target of ``Reshape(x, Concat(size of x, constants))``."""
    if not is_standard(node, "Reshape") or node.attributes.get_int("allowzero"):
        return False
    data, target = node.inputs
    parts = None if target is None else target.producer()
    if data is None or data.shape is None or parts is None or not is_standard(parts, "Concat"):
        return False
    kept = [index for index, dim in enumerate(data.shape) if not isinstance(dim, int)]
    # None stands for the unknown size.
    sizes: list[int | None] = []
    for part in parts.inputs:
        known = integers(part)
        if known is None and (len(kept) != 1 or _axis_of(part, data) != kept[0]):
            return False
        sizes.extend([None] if known is None else known)
    given = [size for size in sizes if size is not None]
    rest = math.prod(dim for dim in data.shape if isinstance(dim, int))
    product = math.prod(size for size in given if size != -1)
    if len(given) != len(sizes) - 1 or min(given, default=1) < -1 or 0 in (rest, product):
        return False
    if rest % product or given.count(-1) > 1 or (-1 not in given and rest != product):
        return False
    found = [rest // product if size == -1 else size for size in sizes]
    fixed = np.array([-1 if size is None else size for size in found], np.int64)
    node.replace_input_with(1, editor.constant(f"{node.outputs[0].name}_shape", fixed))
    node.outputs[0].shape = ir.Shape([data.shape[kept[0]] if size is None else size for size in found])
    return True


def _axis_of(part: ir.Value | None, data: ir.Value) -> int | None:
    """Return the axis if `part` is ``Unsqueeze(Gather(Shape(data), axis))``, or None."""
    behind: list[ir.Node] = []
    value = part
    for op_type in ("Unsqueeze", "Gather", "Shape"):
        node = None if value is None else value.producer()
        if node is None or not is_standard(node, op_type):
            return None
        behind.append(node)
        value = node.inputs[0]
    index, ndim = constant(behind[1].inputs[1]), rank(data)
    whole = not behind[2].attributes.keys() & {"start", "end"}
    if value is not data or index is None or index.ndim or ndim is None or not whole:
        return None
    return int(index) % ndim


def _as_reshape(editor: GraphEditor, node: ir.Node) -> bool:
    """Turn a Transpose that moves axes of size 1 only into a Reshape if it stands next to one."""
    if not is_standard(node, "Transpose") or not _next_to_reshape(node):
        return False
    shape = static_shape(node.inputs[0])
    if shape is None or 0 in shape:
        return False
    order = list(node.attributes.get_ints("perm", tuple(reversed(range(len(shape))))) or ())
    moved = [axis for axis in order if shape[axis] != 1]
    if moved != sorted(moved):
        return False
    name = node.outputs[0].name
    target = editor.constant(f"{name}_shape", np.array([shape[axis] for axis in order], np.int64))
    node.op_type, node.name = "Reshape", name
    node.attributes.pop("perm", None)
    node.resize_inputs(2)
    node.replace_input_with(1, target)
    return True


def _next_to_reshape(node: ir.Node) -> bool:
    before = node.inputs[0].producer() if node.inputs[0] is not None else None
    return any(is_standard(other, "Reshape") for other in (before, *node.outputs[0].consumers()) if other)


def _merge_reshapes(editor: GraphEditor, node: ir.Node) -> bool:
    """Let a Reshape read what the Reshape before it reads."""
    first = _before(node, "Reshape")
    target = None if first is None else integers(node.inputs[1])
    if first is None or target is None or 0 in target or len(first.outputs[0].uses()) != 1:
        return False
    node.replace_input_with(0, first.inputs[0])
    node.name = first.outputs[0].name
    editor.graph.remove(first, safe=True)
    return True


def _merge_slices(editor: GraphEditor, node: ir.Node) -> bool:
    """Let this Slice, and all others of the Slice before it, cut the tensor along the axes of both."""
    first = _before(node, "Slice")
    readers = [] if first is None else [use.node for use in first.outputs[0].uses()]
    if first is None or not all(_mergeable(first, reader) for reader in readers):
        return False
    for reader in readers:
        _cut_at_once(editor, first, reader, (first if len(readers) == 1 else reader).outputs[0].name or "")
    editor.graph.remove(first, safe=True)
    return True


def _cut_at_once(editor: GraphEditor, first: ir.Node, second: ir.Node, name: str) -> None:
    joined = [(*before, *after) for before, after in zip(_bounds(first), _bounds(second), strict=True)]
    second.replace_input_with(0, first.inputs[0])
    for place, (suffix, numbers) in enumerate(zip(_BOUNDS, joined, strict=True), 1):
        second.replace_input_with(place, editor.constant(f"{name}_{suffix}", np.array(numbers, np.int64)))
    second.name = name


def _mergeable(first: ir.Node, second: ir.Node) -> bool:
    """Whether both are Slices with constant bounds along different axes."""
    if not is_standard(second, "Slice") or second.graph is not first.graph:
        return False
    before, after = _bounds(first), _bounds(second)
    return bool(before and after) and len({*before[2], *after[2]}) == len(before[2]) + len(after[2])


def _bounds(node: ir.Node) -> list[list[int]]:
    """Return starts, ends, axes and steps, or an empty list if one of them is missing or not constant."""
    bounds = [integers(value) for value in node.inputs[1:]]
    ndim = rank(node.inputs[0])
    if len(bounds) != len(_BOUNDS) or ndim is None or any(numbers is None for numbers in bounds):
        return []
    starts, ends, axes, steps = (numbers or [] for numbers in bounds)
    return [starts, ends, [axis % ndim for axis in axes], steps]


def _before(node: ir.Node, op_type: str) -> ir.Node | None:
    """Return the node before one of the same type, whose result is not an output of the graph."""
    if not is_standard(node, op_type) or node.inputs[0] is None:
        return None
    first = node.inputs[0].producer()
    if first is None or not is_standard(first, op_type) or first.graph is not node.graph:
        return None
    return None if first.outputs[0].is_graph_output() else first
