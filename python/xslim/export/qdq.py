"""Insert QuantizeLinear/DequantizeLinear pairs into a float model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.errors import ModelError
from xslim.export.clamps import remove_clamps
from xslim.export.loadable import make_loadable
from xslim.graph.editing import GraphEditor
from xslim.graph.outputs import values_by_name
from xslim.graph.scheme import (
    QMIN,
    ConstantPlan,
    Quantization,
    QuantizedTensor,
    QuantParams,
    QuantPlan,
    representable,
)
from xslim.targets import Target

PER_CHANNEL_OPSET, HALF_OPSET = 13, 19
"""The first opset in which QuantizeLinear has a channel axis, and the first with float16 scales."""


def needed_opset(model: ir.Model) -> int:
    """Return the lowest opset in which a quantised form of the model can be written.

    Types need not be inferred: float16 is recognised by the types of inputs, outputs and weights.
    """
    graph = model.graph
    values = [*graph.inputs, *graph.outputs, *graph.initializers.values()]
    halves = any(value.dtype == ir.DataType.FLOAT16 for value in values)
    return HALF_OPSET if halves else PER_CHANNEL_OPSET


def export_qdq(model: ir.Model, plan: QuantPlan, quantization: Quantization, target: Target) -> ir.Model:
    """Write a quantised model in the QDQ form.

    Every int8 activation gets one QuantizeLinear/DequantizeLinear pair, whatever the number of its readers.
    A tensor that an int8 operator writes exists only in int8, so all its readers read the dequantised
    values; a tensor that a float operator writes stays float for its float readers. Constants are stored
    as int8 behind one DequantizeLinear. Activations that saturation replaces are removed. A target with
    unsigned activations gets the same numbers, shifted by 128.

    Parameters
    ----------
    model : onnx_ir.Model
        The prepared float model; it is not changed.
    plan : QuantPlan
        The plan: which tensors and constants are int8.
    quantization : Quantization
        Scales, zero points and int8 constants.
    target : Target
        The table that tells which activation functions are clamps.

    Returns
    -------
    onnx_ir.Model
        A new model with the same interface.

    Raises
    ------
    ModelError
        The model's opset is below `needed_opset`.
    """
    opset, needed = model.opset_imports.get("", 0), needed_opset(model)
    if opset < needed:
        raise ModelError(f"the quantised model needs opset {needed}, not {opset}", hint="leave opset out")
    quantized = model.clone()
    remove_clamps(quantized.graph, plan, quantization.activations, target)
    writer = _QdqWriter(quantized.graph, plan.int8_operators, unsigned=target.unsigned)
    for constant, stored in quantization.constants.items():
        writer.store_constant(constant, stored)
    for name, bias in quantization.biases.items():
        writer.store_bias(name, bias, target)
    for name, params in quantization.activations.items():
        writer.insert_pair(name, params)
    make_loadable(quantized, unsigned=target.unsigned)
    writer.drop_unused_initializers()
    return quantized


class _QdqWriter(GraphEditor):
    """Edits one graph; the names of new values are derived from those of the quantised tensors."""

    def __init__(self, graph: ir.Graph, int8_operators: frozenset[str], *, unsigned: bool) -> None:
        super().__init__(graph)
        self.int8_operators = int8_operators
        self.unsigned = unsigned
        self.values = values_by_name(graph)
        self.nodes = {node.name or "": node for node in graph}

    def is_int8(self, node: ir.Node | None) -> bool:
        return node is not None and node.graph is self.graph and node.name in self.int8_operators

    def store_constant(self, plan: ConstantPlan, constant: QuantizedTensor) -> None:
        value = self.values[plan.tensor]
        if self.unsigned and not plan.symmetric:
            constant = QuantizedTensor(_unsigned(constant.values), _unsigned_params(constant.params))
        restored = self._stored(plan.tensor, constant, value)
        for node, index in value.uses():
            if node.graph is self.graph and node.name in plan.readers:
                node.replace_input_with(index, restored)

    def store_bias(self, name: str, bias: QuantizedTensor, target: Target) -> None:
        node = self.nodes[name]
        position = target.entry(node).bias_input
        assert position is not None
        value = node.inputs[position]
        assert value is not None
        node.replace_input_with(position, self._stored(value.name or "", bias, value))

    def insert_pair(self, name: str, params: QuantParams) -> None:
        value = self.values[name]
        params = _unsigned_params(params) if self.unsigned else params
        only_int8 = self.is_int8(value.producer())
        readers = [(use.node, use.idx) for use in value.uses() if only_int8 or self.is_int8(use.node)]
        parameters = self._parameters(name, params, value)
        stored = self._pair_node("QuantizeLinear", name, [value, *parameters], f"{name}_quantized", params)
        stored.shape = value.shape
        if parameters[1].dtype is not None:
            stored.dtype = parameters[1].dtype
        restored = self._dequantized(name, stored, parameters, params, value)
        for node, index in readers:
            node.replace_input_with(index, restored)
        if only_int8 and value.is_graph_output():
            self.take_place(value, restored, f"{name}_float")

    def _stored(self, stem: str, constant: QuantizedTensor, like: ir.Value) -> ir.Value:
        stored = self.constant(f"{stem}_quantized", constant.values)
        parameters = self._parameters(stem, constant.params, like)
        return self._dequantized(stem, stored, parameters, constant.params, like)

    def _dequantized(
        self,
        stem: str,
        stored: ir.Value,
        parameters: tuple[ir.Value, ir.Value],
        params: QuantParams,
        like: ir.Value,
    ) -> ir.Value:
        value = self._pair_node(
            "DequantizeLinear", stem, [stored, *parameters], f"{stem}_dequantized", params
        )
        value.type, value.shape = like.type, like.shape
        return value

    def _parameters(self, stem: str, params: QuantParams, like: ir.Value) -> tuple[ir.Value, ir.Value]:
        dtype = np.float16 if like.dtype == ir.DataType.FLOAT16 else np.float32
        scale = self.constant(f"{stem}_scale", representable(params.scale, dtype))
        zero_point = self.constant(f"{stem}_zero_point", np.asarray(params.zero_point))
        return scale, zero_point

    def _pair_node(
        self, op_type: str, stem: str, inputs: Sequence[ir.Value], output: str, params: QuantParams
    ) -> ir.Value:
        attributes = {} if params.axis is None else {"axis": params.axis}
        [value] = self.node(op_type, inputs, [output], name=f"{stem}_{op_type}", attributes=attributes)
        return value


def _unsigned(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    return (values.astype(np.int16) - QMIN).astype(np.uint8)


def _unsigned_params(params: QuantParams) -> QuantParams:
    return replace(params, zero_point=_unsigned(params.zero_point))
