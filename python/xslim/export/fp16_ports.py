"""Find, by its ONNX schema, which inputs and outputs of an operator become float16 with the operator."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import onnx_ir as ir

from xslim.graph.ops import is_standard
from xslim.runtime import signature

# The attribute of an operator that determines its output type, if no input does.
TYPE_ATTRIBUTES = {"Cast": "to", "ConstantOfShape": "value"}


@dataclass(frozen=True)
class Ports:
    """Positions of the float32 inputs and outputs that change their type with the operator."""

    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()


def has_float_data(node: ir.Node) -> bool:
    """Whether the node reads or writes a float32 tensor."""
    return any(
        value is not None and value.dtype == ir.DataType.FLOAT for value in (*node.inputs, *node.outputs)
    )


def float_ports(node: ir.Node) -> Ports:
    """Return all inputs and outputs of a node that are float32."""
    inputs = (
        i for i, value in enumerate(node.inputs) if value is not None and value.dtype == ir.DataType.FLOAT
    )
    outputs = (i for i, value in enumerate(node.outputs) if value.dtype == ir.DataType.FLOAT)
    return Ports(tuple(inputs), tuple(outputs))


def half_ports(node: ir.Node, opset: int) -> Ports | str:
    """Return the inputs and outputs of a node that can be float16, or the reason why there are none.

    Parameters
    ----------
    node : onnx_ir.Node
        A node with inferred types.
    opset : int
        Version of the node's operator set.

    Returns
    -------
    Ports or str
    """
    if any(
        attr.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attr in node.attributes.values()
    ):
        return "control flow and its bodies stay float32"
    if not all(_is_plain(value) for value in (*node.inputs, *node.outputs)):
        return "a type around it is unknown or no tensor"
    operator = signature(node, opset)
    if operator is None:
        return "neither ONNX nor onnxruntime defines it"
    flexible = operator.half
    read = {_type(operator.inputs, position) for position in range(len(node.inputs))}
    written = flexible if node.op_type in TYPE_ATTRIBUTES else flexible & read
    inputs = () if takes_any(node) else _positions(node.inputs, operator.inputs, flexible)
    ports = Ports(inputs, _positions(node.outputs, operator.outputs, written))
    if not (ports.inputs or ports.outputs) or _positions(node.outputs, operator.outputs, flexible - written):
        return "it is defined without float16"
    return ports


def takes_any(node: ir.Node) -> bool:
    """Whether the node can read both float16 and float32 without a change of its outputs' types."""
    return is_standard(node, "Cast", "Shape", "Size")


def _is_plain(value: ir.Value | None) -> bool:
    if value is None or not value.name:
        return True
    return isinstance(value.type, ir.TensorType)


def _positions(
    values: Sequence[ir.Value | None], formal: Sequence[str], types: AbstractSet[str]
) -> tuple[int, ...]:
    return tuple(
        position
        for position, value in enumerate(values)
        if value is not None and value.dtype == ir.DataType.FLOAT and _type(formal, position) in types
    )


def _type(formal: Sequence[str], position: int) -> str:
    """Return the type variable of a parameter; the last one applies to all further, variadic parameters."""
    return formal[min(position, len(formal) - 1)]
