"""Rewrite operators with an ``axes`` attribute or input so that they state a value for every axis.

onnxruntime fails on Pad and Resize with ``axes`` when it changes the layout around them: it treats them as if
they had a value for every axis. Rewrite rules and equalisation read only the form with all axes as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.editing import GraphEditor
from xslim.graph.ops import constant, integers, is_standard, rank

Array = NDArray[Any]


def write_out_axes(model: ir.Model) -> int:
    """Rewrite Pad, Resize and CenterCropPad of the main graph for all axes; return the number of nodes.

    Nodes with computed amounts, and nodes that need an unknown size, stay as they are.
    """
    return sum(_written_out(node) for node in model.graph if is_standard(node, *_FORMS))


def _written_out(node: ir.Node) -> bool:
    given, write = _FORMS[node.op_type]
    axes, ndim = given(node), rank(node.inputs[0])
    if axes is None or ndim is None:
        return False
    changed = write(node, [axis % ndim for axis in axes], ndim)
    for position, array in (changed or {}).items():
        _replace(node, position, array)
    return changed is not None


def _replace(node: ir.Node, position: int, array: Array | None) -> None:
    if array is None:
        node.replace_input_with(position, None)
        return
    assert isinstance(node.graph, ir.Graph)
    value = GraphEditor(node.graph).constant(f"{node.outputs[0].name}_{position}", array)
    node.replace_input_with(position, value)


def _pad(node: ir.Node, axes: Sequence[int], ndim: int) -> dict[int, Array | None] | None:
    pads = integers(node.inputs[1])
    if pads is None:
        return None
    full = np.zeros((2, ndim), np.int64)
    full[:, axes] = np.reshape(pads, (2, -1))
    return {1: full.reshape(-1), 3: None}


def _resize(node: ir.Node, axes: Sequence[int], ndim: int) -> dict[int, Array | None] | None:
    if node.attributes.get_string("keep_aspect_ratio_policy", "stretch") != "stretch":
        return None
    changed: dict[int, Array | None] = {}
    fills: tuple[Callable[[], Array | None], ...] = (
        lambda: np.concatenate([np.zeros(ndim, np.float32), np.ones(ndim, np.float32)]),
        lambda: np.ones(ndim, np.float32),
        lambda: _sizes(node.inputs[0], axes),
    )
    for position, fill in enumerate(fills, 1):
        value = node.inputs[position] if position < len(node.inputs) else None
        if value is None or ((given := constant(value)) is not None and given.size == 0):
            continue
        full = fill() if given is not None else None
        if given is None or full is None:
            return None
        full = full.reshape(-1, ndim)
        full[:, axes] = given.reshape(-1, len(axes))
        changed[position] = full.reshape(-1).astype(given.dtype)
    node.attributes.pop("axes")
    return changed


def _crop(node: ir.Node, axes: Sequence[int], _: int) -> dict[int, Array | None] | None:
    given, full = constant(node.inputs[1]), _sizes(node.inputs[0], axes)
    if given is None or full is None:
        return None
    full[list(axes)] = given
    node.attributes.pop("axes")
    return {1: full.astype(given.dtype)}


def _sizes(value: ir.Value | None, axes: Sequence[int]) -> Array | None:
    """Return the sizes of a tensor with 0 along `axes`, or None if a size along another axis is unknown."""
    shape = value.shape if value is not None else None
    if shape is None:
        return None
    sizes = [0 if axis in axes else dim for axis, dim in enumerate(shape)]
    known = [size for size in sizes if isinstance(size, int)]
    return np.array(known, np.int64) if len(known) == len(sizes) else None


def _attribute(node: ir.Node) -> Sequence[int] | None:
    return node.attributes.get_ints("axes") if "axes" in node.attributes else None


def _fourth_input(node: ir.Node) -> Sequence[int] | None:
    value = node.inputs[3] if len(node.inputs) > 3 else None
    return integers(value)


_Given = Callable[[ir.Node], Sequence[int] | None]
_Write = Callable[[ir.Node, Sequence[int], int], dict[int, Array | None] | None]
_FORMS: Mapping[str, tuple[_Given, _Write]] = {
    "Pad": (_fourth_input, _pad),
    "Resize": (_attribute, _resize),
    "CenterCropPad": (_attribute, _crop),
}
"""For each operator: where it names its axes, and the function that rewrites it for all axes."""
