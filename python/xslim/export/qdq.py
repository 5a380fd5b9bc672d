"""Insertion of QuantizeLinear/DequantizeLinear pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx_ir as ir

from xslim.graph.outputs import values_by_name
from xslim.graph.scheme import ConstantPlan, Quantization, QuantizedTensor, QuantParams, QuantPlan
from xslim.targets import Operator, Target

Usage = tuple[ir.Node, int]


def export_qdq(model: ir.Model, plan: QuantPlan, quantization: Quantization, target: Target) -> ir.Model:
    """Write a quantised model in the QDQ form.

    Every int8 activation gets one QuantizeLinear/DequantizeLinear pair, whatever the number of its readers.
    A tensor that an int8 operator writes exists only in int8, so all its readers read the dequantised
    values; a tensor that a float operator writes stays float for its float readers. Constants are stored
    as int8 behind one DequantizeLinear. Activations that saturation replaces are removed.

    Parameters
    ----------
    model : onnx_ir.Model
        The prepared float model; it is not changed.
    plan : QuantPlan
        What is int8.
    quantization : Quantization
        Scales, zero points and int8 constants.
    target : Target
        The table that says which activations are clamps.

    Returns
    -------
    onnx_ir.Model
        A new model with the interface of the old one.
    """
    quantized = model.clone()
    writer = _Writer(quantized.graph, plan.int8_operators)
    for constant, stored in quantization.constants.items():
        writer.store_constant(constant, stored)
    for name in quantization.activations:
        _remove_clamp(writer, name, quantization.activations, target)
    for name, params in quantization.activations.items():
        writer.insert_pair(name, params)
    _drop_unused(quantized.graph)
    quantized.graph.sort()
    return quantized


class _Writer:
    """Edits one graph; names of new values derive from the tensor that they quantise."""

    def __init__(self, graph: ir.Graph, int8_operators: frozenset[str]) -> None:
        self.graph = graph
        self.int8_operators = int8_operators
        self.values = values_by_name(graph)

    def is_int8(self, node: ir.Node | None) -> bool:
        return node is not None and node.graph is self.graph and node.name in self.int8_operators

    def store_constant(self, plan: ConstantPlan, constant: QuantizedTensor) -> None:
        value = self.values[plan.tensor]
        stem = plan.tensor if plan.axis is None else f"{plan.tensor}_axis{plan.axis}"
        stored = self._initializer(f"{stem}_quantized", constant.values)
        output = self._dequantize(stem, stored, constant.params, value)
        for node, index in _usages(value):
            if node.name in plan.readers:
                node.replace_input_with(index, output)

    def insert_pair(self, name: str, params: QuantParams) -> None:
        value = self.values[name]
        only_int8 = self.is_int8(value.producer())
        readers = [u for u in _usages(value) if only_int8 or self.is_int8(u[0])]
        scale, zero_point = self._parameters(name, params)
        stored = self._node("QuantizeLinear", name, [value, scale, zero_point], f"{name}_quantized", params)
        stored.dtype, stored.shape = ir.DataType.INT8, value.shape
        restored = self._node(
            "DequantizeLinear", name, [stored, scale, zero_point], f"{name}_dequantized", params
        )
        restored.dtype, restored.shape = value.dtype, value.shape
        for node, index in readers:
            node.replace_input_with(index, restored)
        if only_int8 and value.is_graph_output():
            self._take_over_output(value, restored)

    def _take_over_output(self, value: ir.Value, restored: ir.Value) -> None:
        """Give the restored tensor the name and the place of the graph output."""
        name = value.name
        value.name = f"{name}_float"
        restored.name = name
        for index, output in enumerate(self.graph.outputs):
            if output is value:
                self.graph.outputs[index] = restored

    def _dequantize(self, stem: str, stored: ir.Value, params: QuantParams, like: ir.Value) -> ir.Value:
        scale, zero_point = self._parameters(stem, params)
        output = self._node(
            "DequantizeLinear", stem, [stored, scale, zero_point], f"{stem}_dequantized", params
        )
        output.dtype, output.shape = like.dtype, like.shape
        return output

    def _parameters(self, stem: str, params: QuantParams) -> tuple[ir.Value, ir.Value]:
        scale = self._initializer(f"{stem}_scale", np.asarray(params.scale, np.float32))
        zero_point = self._initializer(f"{stem}_zero_point", np.asarray(params.zero_point, np.int8))
        return scale, zero_point

    def _initializer(self, name: str, array: np.ndarray) -> ir.Value:
        value = ir.Value(
            name=name,
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.tensor(array).dtype),
            const_value=ir.tensor(array, name=name),
        )
        self.graph.register_initializer(value)
        return value

    def _node(
        self, op_type: str, stem: str, inputs: Iterable[ir.Value], output: str, params: QuantParams
    ) -> ir.Value:
        attributes = [] if params.axis is None else [ir.AttrInt64("axis", params.axis)]
        node = ir.Node("", op_type, list(inputs), attributes, name=f"{stem}_{op_type}")
        node.outputs[0].name = output
        self.graph.append(node)
        return node.outputs[0]


def _usages(value: ir.Value) -> list[Usage]:
    return [(use.node, use.idx) for use in value.uses()]


def _remove_clamp(writer: _Writer, name: str, activations: Mapping[str, QuantParams], target: Target) -> None:
    """Take out an activation whose effect the saturation of the quantiser that follows already has."""
    value = writer.values[name]
    node = value.producer()
    if node is None or not writer.is_int8(node):
        return
    bounds = _clamp_bounds(node, target.operator(node.domain, node.op_type))
    source = node.inputs[0]
    if bounds is None or source is None or not _covers(bounds, activations[name]):
        return
    applied_by_producer = source.name not in activations and writer.is_int8(source.producer())
    if applied_by_producer and len(source.uses()) == 1 and not source.is_graph_output():
        _replace_output(writer, value, source, node)


def _replace_output(writer: _Writer, value: ir.Value, source: ir.Value, node: ir.Node) -> None:
    name = value.name
    value.replace_all_uses_with(source, replace_graph_outputs=True)
    writer.graph.remove(node, safe=True)
    value.name = f"{name}_removed"
    source.name = name
    writer.values[name or ""] = source


def _clamp_bounds(node: ir.Node, operator: Operator) -> tuple[float, float] | None:
    if operator.bounds is not None:
        return operator.bounds
    if not operator.bounds_inputs:
        return None
    low, high = (_scalar(node, index, default) for index, default in ((1, -np.inf), (2, np.inf)))
    return None if low is None or high is None else (low, high)


def _scalar(node: ir.Node, index: int, default: float) -> float | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        return default
    return float(value.const_value.numpy()) if value.const_value is not None else None


def _covers(bounds: tuple[float, float], params: QuantParams) -> bool:
    """Whether every value that the quantiser can express lies within the bounds."""
    scale, zero_point = float(params.scale), int(params.zero_point)
    low, high = (-128 - zero_point) * scale, (127 - zero_point) * scale
    tolerance = scale * 1e-3
    return low >= bounds[0] - tolerance and high <= bounds[1] + tolerance


def _drop_unused(graph: ir.Graph) -> None:
    for name, value in list(graph.initializers.items()):
        if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
            del graph.initializers[name]
