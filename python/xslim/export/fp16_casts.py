"""Rewrite a graph to float16: round constants, and insert one cast wherever float16 and float32 meet."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.errors import InternalError
from xslim.export.fp16_choice import Choice
from xslim.export.fp16_constants import to_half
from xslim.export.fp16_ports import TYPE_ATTRIBUTES
from xslim.graph.editing import GraphEditor
from xslim.graph.ops import is_constant

_FLOAT, _HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16


def write_half(graph: ir.Graph, choice: Choice) -> None:
    """Make inputs and outputs of the chosen operators float16, in place; those of the graph stay float32."""
    _HalfWriter(graph, choice).write()


class _HalfWriter(GraphEditor):
    def __init__(self, graph: ir.Graph, choice: Choice) -> None:
        super().__init__(graph)
        self.choice = choice
        self._as_half: dict[ir.Value, ir.Value] = {}

    def write(self) -> None:
        written = [
            node.outputs[position] for node, ports in self.choice.half.items() for position in ports.outputs
        ]
        for value in written:
            self._restore_float_readers(value)
        for node, ports in self.choice.half.items():
            for position in ports.inputs:
                node.replace_input_with(position, self._half(node.inputs[position]))
            _set_type_attribute(node)
        for value in written:
            # Several values may share a type object, so the object is replaced and not changed.
            value.type = ir.TensorType(_HALF)
        self.drop_unused_initializers()

    def _restore_float_readers(self, value: ir.Value) -> None:
        """Insert one cast back to float32 for all readers of a float16 value that need float32."""
        readers = [use for use in value.uses() if self.choice.wants_half(use) is False]
        if not readers and not value.is_graph_output():
            return
        restored = self._cast(value, _FLOAT, f"{value.name}_fp32")
        for use in readers:
            use.node.replace_input_with(use.idx, restored)
        if value.is_graph_output():
            self.take_place(value, restored, f"{value.name}_fp16")

    def _half(self, value: ir.Value | None) -> ir.Value:
        """Return the float16 form of a value that an operator reads."""
        if value is None:
            raise InternalError("a missing input cannot be float16")
        if self.choice.is_half(value):
            return value
        if value not in self._as_half:
            name = f"{value.name}_fp16"
            self._as_half[value] = (
                self._rounded(value, name) if is_constant(value) else self._cast(value, _HALF, name)
            )
        return self._as_half[value]

    def _rounded(self, value: ir.Value, name: str) -> ir.Value:
        tensor = value.const_value
        if tensor is None:
            raise InternalError(f"{value.name!r} has no contents")
        if isinstance(tensor, ir.ExternalTensor):
            # A weight in a file may be larger than memory, so it is rounded while the new file is written.
            return self.lazy_constant(name, partial(_rounded_file, tensor), _HALF, ir.Shape(tensor.shape))
        return self.constant(name, to_half(tensor.numpy()))

    def _cast(self, value: ir.Value, dtype: ir.DataType, name: str) -> ir.Value:
        """Insert a Cast directly after the value's node, or first in the graph if the value is an input."""
        producer = value.producer()
        first = self.graph[0] if producer is None else None
        [result] = self.node("Cast", [value], [name], before=first, after=producer, attributes={"to": dtype})
        result.type, result.shape = ir.TensorType(dtype), value.shape
        return result


def _rounded_file(tensor: ir.ExternalTensor) -> NDArray[np.float16]:
    half = to_half(tensor.numpy())
    tensor.release()
    return half


def _set_type_attribute(node: ir.Node) -> None:
    name = TYPE_ATTRIBUTES.get(node.op_type)
    if node.domain or name is None:
        return
    if name == "to":
        node.attributes.add(ir.AttrInt64(name, _HALF))
    else:
        fill = (
            node.attributes[name].as_tensor().numpy() if name in node.attributes else np.zeros(1, np.float32)
        )
        node.attributes.add(ir.AttrTensor(name, ir.tensor(to_half(fill))))
