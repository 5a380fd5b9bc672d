"""Resize in its plain form: every axis named, every rule of sampling written down."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.editing import fresh_name
from xslim.graph.ops import constant, is_standard, new_constant, rank, static_shape

SCALES, SIZES = 2, 3
STRETCH = "stretch"


def name_all_axes(model: ir.Model) -> int:
    """Let every Resize name all axes, as libraries mistake those that name a few; return how many changed.

    Left alone are those whose rank is not known, that keep an aspect ratio, or that crop.
    """
    changed = 0
    for graph in model.graphs():
        for node in list(graph):
            if is_standard(node, "Resize") and "axes" in node.attributes:
                changed += _name_all(graph, node)
    return changed


def resize_as_before(graph: ir.Graph, node: ir.Node, scales: ir.Value) -> list[ir.Node]:
    """Turn an Upsample, or a Resize of opset 10, into one or two Resize as they are from opset 11 on.

    Both sample at x / scale. Mode nearest rounds down where the result is larger, up where it is smaller, as
    onnxruntime does.
    """
    written = [node]
    node.op_type = "Resize"
    node.attributes.pop("scales", None)
    node.attributes.add(ir.AttrString("coordinate_transformation_mode", "asymmetric"))
    numbers: NDArray[Any] | None = constant(scales)
    if node.attributes.get_string("mode", "nearest") == "nearest":
        smaller = numbers is not None and bool((numbers < 1).any())
        larger = numbers is not None and bool((numbers > 1).any())
        if numbers is not None and smaller and larger:
            first = _first_shrink(graph, node, numbers)
            written.append(first)
            node.replace_input_with(0, first.outputs[0])
            scales = add_beside(graph, node, "scales", np.maximum(numbers, 1))
            smaller = False
        node.attributes.add(ir.AttrString("nearest_mode", "ceil" if smaller else "floor"))
    node.resize_inputs(SCALES + 1)
    node.replace_input_with(1, add_beside(graph, node, "roi", np.zeros(0, np.float32)))
    node.replace_input_with(SCALES, scales)
    return written


def _first_shrink(graph: ir.Graph, node: ir.Node, numbers: NDArray[Any]) -> ir.Node:
    """Axes that become smaller in a Resize of their own: the two kinds round in different directions."""
    attributes = [ir.AttrString("coordinate_transformation_mode", "asymmetric")]
    attributes += [ir.AttrString("mode", "nearest"), ir.AttrString("nearest_mode", "ceil")]
    roi = add_beside(graph, node, "roi", np.zeros(0, np.float32))
    scales = add_beside(graph, node, "shrink", np.minimum(numbers, 1))
    first = ir.node("Resize", [node.inputs[0], roi, scales], attributes={a.name: a for a in attributes})
    first.outputs[0].name = f"{node.outputs[0].name}.smaller"
    first.outputs[0].type = node.outputs[0].type
    graph.insert_before(node, first)
    return first


def _name_all(graph: ir.Graph, node: ir.Node) -> bool:
    ndim, data = rank(node.inputs[0]), node.inputs[0]
    policy = node.attributes.get_string("keep_aspect_ratio_policy", STRETCH)
    transformation = node.attributes.get_string("coordinate_transformation_mode", "")
    if data is None or ndim is None or policy != STRETCH or transformation == "tf_crop_and_resize":
        return False
    axes = [axis % ndim for axis in node.attributes.get_ints("axes") or ()]
    index = SIZES if len(node.inputs) > SIZES and node.inputs[SIZES] is not None else SCALES
    given = node.inputs[index] if len(node.inputs) > index else None
    if given is None:
        return False
    shape = static_shape(data)
    numbers = constant(given)
    if numbers is not None and (index == SCALES or shape is not None):
        full = np.array(shape if index == SIZES else [1] * ndim, numbers.dtype)
        full[axes] = numbers
        value = add_beside(graph, node, "sizes" if index == SIZES else "scales", full)
    elif axes == list(range(ndim - len(axes), ndim)):
        value = _joined(graph, node, data, given, ndim - len(axes), index)
    else:
        return False
    node.attributes.pop("axes")
    node.replace_input_with(index, value)
    return True


def _joined(
    graph: ir.Graph, node: ir.Node, data: ir.Value, given: ir.Value, count: int, index: int
) -> ir.Value:
    """What is known when the model runs, behind the first `count` axes, which stay as they are."""
    if index == SIZES:
        shape = ir.node("Shape", [data], attributes={"start": 0, "end": count})
        shape.outputs[0].name = f"{node.outputs[0].name}.kept"
        shape.outputs[0].type = given.type
        graph.insert_before(node, shape)
        first = shape.outputs[0]
    else:
        first = add_beside(graph, node, "kept", np.ones(count, np.float32))
    joined = ir.node("Concat", [first, given], attributes={"axis": 0})
    joined.outputs[0].name = f"{node.outputs[0].name}.all"
    joined.outputs[0].type = given.type
    graph.insert_before(node, joined)
    return joined.outputs[0]


def add_beside(graph: ir.Graph, node: ir.Node, role: str, array: NDArray[np.generic]) -> ir.Value:
    """Register a constant that a node needs, named after its result and the role of the constant."""
    value = new_constant(array, fresh_name(node, f"{node.outputs[0].name}.{role}"))
    graph.register_initializer(value)
    return value
