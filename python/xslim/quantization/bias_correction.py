"""Bias correction: rounding the weights shifts the mean of a layer's output; the bias compensates the shift.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019,
section 4.2 (arXiv:1906.04721): ``b' = b - (W_q - W) E[x]``. The mean is taken over the vectors that the layer
reads, so it includes the zeros of the padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.layers import Layer, Vectors, layers
from xslim.graph.ops import constant as contents
from xslim.graph.ops import is_constant, is_standard, new_constant, sole_consumer
from xslim.graph.scheme import ConstantPlan, Quantization, QuantizedTensor, QuantPlan
from xslim.targets import Target

FloatArray = NDArray[np.float64]


def correct_biases(
    model: ir.Model,
    plan: QuantPlan,
    quantization: Quantization,
    means: Mapping[Vectors, FloatArray],
    target: Target,
) -> ir.Model:
    """Return a copy of the model whose biases compensate the mean error of the rounded weights.

    Parameters
    ----------
    model : onnx_ir.Model
        The float model whose weights were rounded.
    plan, quantization
        The plan, and its numbers with the rounded weights.
    means : mapping of Vectors to float64 array
        Mean input vector of each layer; layers that are missing keep their biases.
    target : Target
        The table that names the bias input of each operator.
    """
    corrected = model.clone()
    nodes = {node.name: node for node in corrected.graph}
    for constant, layer in _readers(model.graph, plan):
        mean = means.get(layer.vectors)
        if mean is None:
            continue
        weight = contents(model.graph.initializers[constant.tensor])
        assert weight is not None
        error = _restored(quantization.constants[constant]) - weight
        add_to_bias(nodes[layer.node], target, plan, -layer.mean_output(layer.matrix(error), mean))
    return corrected


def _readers(graph: ir.Graph, plan: QuantPlan) -> Iterator[tuple[ConstantPlan, Layer]]:
    found = layers(graph)
    for constant in plan.constants:
        for reader in constant.readers if constant.symmetric else ():
            layer = found.get(reader)
            if layer is not None and layer.weight == constant.tensor:
                yield constant, layer


def _restored(quantized: QuantizedTensor) -> NDArray[Any]:
    params = quantized.params
    shape = [1] * quantized.values.ndim
    if params.axis is not None:
        shape[params.axis] = -1
    return quantized.values * params.scale.astype(np.float64).reshape(shape)


def add_to_bias(node: ir.Node, target: Target, plan: QuantPlan, shift: FloatArray) -> ir.Value | None:
    """Add a vector to the bias of a layer, and return the bias.

    The bias is an input of the node, or a float constant that the node's only consumer adds. Returns None if
    the layer has no bias of its own and cannot get one.
    """
    position = target.entry(node).bias_input
    if position is None:
        bias = _added_by_consumer(node)
        # The int8 form of a constant is computed already: a change of its float values would have no effect.
        stored = bias is not None and any(bias.name == constant.tensor for constant in plan.constants)
        return None if bias is None or stored else _add_to_constant(bias, shift)
    bias = node.inputs[position] if position < len(node.inputs) else None
    if bias is not None:
        return _add_to_constant(bias, shift)
    graph, output = node.graph, node.outputs[0]
    if not isinstance(graph, ir.Graph) or output.dtype is None:
        return None
    value = new_constant(shift.astype(output.dtype.numpy()), f"{node.name}_bias")
    if value.name in graph.initializers:
        return None
    graph.register_initializer(value)
    node.resize_inputs(position + 1)
    node.replace_input_with(position, value)
    return value


def _added_by_consumer(node: ir.Node) -> ir.Value | None:
    consumer = sole_consumer(node.outputs[0])
    if consumer is None or not is_standard(consumer, "Add"):
        return None
    others = [value for value in consumer.inputs if value is not None and value is not node.outputs[0]]
    return others[0] if len(others) == 1 else None


def _add_to_constant(bias: ir.Value, shift: FloatArray) -> ir.Value | None:
    old: NDArray[Any] | None = contents(bias)
    if old is None or not is_constant(bias) or len(bias.uses()) > 1:
        return None
    # The bias of a single channel may be a scalar.
    if old.size != shift.size or old.shape[-1:] not in ((), (shift.size,)):
        return None
    array = (old + shift.reshape(old.shape)).astype(old.dtype)
    bias.const_value = ir.tensor(array, name=bias.name)
    return bias
