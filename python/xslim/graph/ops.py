"""Small helpers for nodes and values that all passes use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.errors import InternalError

MOVING = frozenset(
    {"Cast", "Concat", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose"}
    | {"Unsqueeze"}
)
"""Operators whose outputs hold values of their inputs."""


def opset(model: ir.Model) -> int:
    """Return the version of the standard operator set that the model imports, or 0 if it imports none."""
    return model.opset_imports.get("", 0)


def is_standard(node: ir.Node, *op_types: str) -> bool:
    """Whether the node is one of these operators of the standard domain."""
    return node.domain == "" and node.op_type in op_types


def constant(value: ir.Value | None) -> NDArray[np.generic] | None:
    """Return the contents of a constant (initializer that is not an input, or Constant node), or None."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def scalar(value: ir.Value | None) -> float | None:
    """Return the number in a constant with a single element, whatever its shape, or None."""
    array = constant(value)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None


def integers(value: ir.Value | None) -> list[int] | None:
    """Return the contents of an integer constant as a flat list, or None."""
    array = constant(value)
    return None if array is None else [int(item) for item in array.reshape(-1)]


def rank(value: ir.Value | None) -> int | None:
    """Return the number of dimensions, or None if it is unknown."""
    return None if value is None or value.shape is None else len(value.shape)


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """Return the shape, or None if a dimension is unknown."""
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return tuple(int(dim) for dim in value.shape.numpy())


def captured(node: ir.Node) -> list[ir.Value]:
    """Values of outer graphs that the bodies of a control-flow node read."""
    bodies = [graph for item in node.attributes.values() for graph in body_graphs(item)]
    own: set[ir.Value] = set()
    read: dict[ir.Value, None] = {}
    for body in bodies:
        own.update((*body.inputs, *body.initializers.values()))
        read.update(dict.fromkeys(body.outputs))
        for inner in body:
            own.update(inner.outputs)
            read.update(dict.fromkeys(value for value in inner.inputs if value is not None))
            read.update(dict.fromkeys(captured(inner)))
    return [value for value in read if value not in own]


def body_graphs(item: ir.Attr) -> list[ir.Graph]:
    """Return the graphs that an attribute holds."""
    if item.type == ir.AttributeType.GRAPH:
        return [item.as_graph()]
    return list(item.as_graphs()) if item.type == ir.AttributeType.GRAPHS else []


def sole_consumer(value: ir.Value) -> ir.Node | None:
    """Return the node that reads the value, or None if the value has several uses or is a graph output."""
    if value.is_graph_output():
        return None
    uses = list(value.uses())
    return uses[0].node if len(uses) == 1 else None


def new_constant(array: NDArray[np.generic], name: str) -> ir.Value:
    """Make an initializer; the caller registers it with a graph."""
    tensor = ir.Tensor(np.asarray(array, order="C"), name=name)
    return ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)


def all_values(model: ir.Model) -> Iterator[ir.Value]:
    """Every value of the main graph and nested graphs: inputs, initializers and node outputs."""
    for graph in model.graphs():
        yield from graph.inputs
        yield from graph.initializers.values()
        for node in graph:
            yield from node.outputs


def producer(value: ir.Value) -> ir.Node:
    """Return the node that computes a value; the value must have one."""
    node = value.producer()
    if node is None:
        raise InternalError(f"no node computes {value.name!r}")
    return node


def is_constant(value: ir.Value) -> bool:
    """Whether the value is an initializer that is not also an input, so that no caller can override it."""
    return value.is_initializer() and not value.is_graph_input()


def is_fixed(value: ir.Value) -> bool:
    """Whether the value is a constant, a Constant node's output, or a constant behind DequantizeLinear."""
    node = value.producer()
    if node is None:
        return is_constant(value)
    return is_standard(node, "Constant") or (
        is_standard(node, "DequantizeLinear")
        and all(source is None or is_constant(source) for source in node.inputs)
    )


def attribute(node: ir.Node, name: str) -> Any:
    """Return an attribute's value (a number, a string or a sequence), or the schema's default."""
    from onnx import defs, helper

    given = node.attributes.get(name)
    if given is not None:
        return given.value
    graph = node.graph
    version = node.version or (graph.opset_imports.get(node.domain) if isinstance(graph, ir.Graph) else None)
    try:
        schema = defs.get_schema(node.op_type, version or defs.onnx_opset_version(), node.domain)
    except defs.SchemaError:
        return None
    entry = schema.attributes.get(name)
    if entry is None or not entry.default_value.name:
        return None
    value = helper.get_attribute_value(entry.default_value)
    return value.decode() if isinstance(value, bytes) else value
