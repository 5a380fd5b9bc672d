"""Find the tensors that must not become int8: attention masks, and sizes computed from shapes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.ops import attribute, captured, constant, is_constant
from xslim.kernels import Sketch
from xslim.targets import Operator, Target

FLOAT_TYPES = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16})
"""Element types that QuantizeLinear reads."""

MASK = -1e4
"""Constants at or below this value stand for minus infinity. An 8-bit range that holds one leaves no
precision for the scores."""

TWO_VALUED_MASK = -50.0
"""A constant of zeros and one other value is a mask if the other value is at or below this (windowed
attention)."""

LARGEST_SCANNED = 1 << 22
"""Elements; larger constants are taken for weights and not scanned."""


def mask_values(graph: ir.Graph, target: Target, seen: frozenset[str] = frozenset()) -> set[ir.Value]:
    """Return the values that hold an attention mask, alone or added to scores.

    Parameters
    ----------
    graph : onnx_ir.Graph
        In topological order.
    target : Target
        The table that tells which operators pass a mask from their inputs to their outputs.
    seen : frozenset of str
        Names of further tensors in which calibration found infinities.
    """
    masks = {value for value in graph.inputs if value.name in seen}
    for node in graph:
        if _makes_mask(node, target.entry(node), masks):
            masks.update(output for output in node.outputs if output.dtype in FLOAT_TYPES)
        masks.update(output for output in node.outputs if output.name in seen)
    return masks


def _makes_mask(node: ir.Node, operator: Operator, masks: set[ir.Value]) -> bool:
    fill = attribute(node, "value")
    if isinstance(fill, ir.TensorProtocol) and _is_mask(fill.numpy()):
        return True
    return operator.carries_mask and any(
        value in masks or _is_mask_constant(value) for value in node.inputs if value is not None
    )


def _is_mask_constant(value: ir.Value) -> bool:
    array = constant(value) if value.dtype in FLOAT_TYPES else None
    return array is not None and _is_mask(array)


def _is_mask(array: NDArray[np.generic]) -> bool:
    if array.dtype.kind != "f" or not 0 < array.size <= LARGEST_SCANNED:
        return False
    low = array.min()
    if low <= MASK:
        return True
    return bool(low <= TWO_VALUED_MASK and array.size > 1 and np.all((array == 0) | (array == low)))


def shape_values(graph: ir.Graph, target: Target) -> set[ir.Value]:
    """Return the values that are computed from shapes and constants alone."""
    shapes: set[ir.Value] = set()
    for node in graph:
        read = [*node.inputs, *captured(node)]
        moving = [value for value in read if value is not None and not is_constant(value)]
        if target.entry(node).measures_shape or (moving and all(value in shapes for value in moving)):
            shapes.update(node.outputs)
    return shapes


INFINITE = 1e30
"""Magnitudes at or above this value stand for infinity."""


def seen_masks(sketches: Mapping[str, Sketch]) -> frozenset[str]:
    """Return the observed tensors that hold infinities, or numbers that stand for infinity."""
    return frozenset(
        name
        for name, sketch in sketches.items()
        if sketch.neg_inf_count or sketch.pos_inf_count or max(-sketch.min, sketch.max) >= INFINITE
    )
