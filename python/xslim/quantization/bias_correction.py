"""Bias correction: what rounding the weights does to the mean of the output is taken from the bias.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019,
section 4.2 (arXiv:1906.04721): ``b' = b - (W_q - W) E[x]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.ops import is_constant
from xslim.graph.scheme import ConstantPlan, Quantization, QuantizedTensor, QuantPlan
from xslim.quantization.parameters import array_of
from xslim.targets import Target

FloatArray = NDArray[np.float64]


def inputs_to_average(model: ir.Model, plan: QuantPlan, target: Target) -> dict[str, int]:
    """Tensors whose mean per channel bias correction needs, with their channel axis."""
    axes: dict[str, int] = {}
    for node, _ in _correctable(model, plan, target):
        source = node.inputs[0]
        axis = target.entry(node).channel_axis
        if source is not None and source.name and axis is not None:
            axes[source.name] = axis
    return axes


def correct_biases(
    model: ir.Model,
    plan: QuantPlan,
    quantization: Quantization,
    means: Mapping[str, FloatArray],
    target: Target,
) -> ir.Model:
    """Return a copy of the model whose biases make up for the mean error of the rounded weights.

    Parameters
    ----------
    model : onnx_ir.Model
        The prepared float model.
    plan, quantization
        What is int8, with the rounded weights.
    means : mapping of str to float64 array
        Mean per channel of the tensors of `inputs_to_average`, over all samples and positions.
    target : Target
        Names the bias input of each operator.
    """
    corrected = model.clone()
    for node, constant in _correctable(corrected, plan, target):
        weight = corrected.graph.initializers[constant.tensor]
        error = _weight_error(array_of(weight), quantization.constants[constant])
        source = node.inputs[0]
        assert source is not None
        shift = -_output_mean(error, means[source.name or ""], constant.axis or 0)
        position = target.entry(node).bias_input
        assert position is not None
        _add_to_bias(corrected.graph, node, position, shift)
    return corrected


def _correctable(model: ir.Model, plan: QuantPlan, target: Target) -> list[tuple[ir.Node, ConstantPlan]]:
    """Int8 operators with a per-channel weight and a bias that is theirs alone, or none yet."""
    weights = {
        reader: constant for constant in plan.constants if constant.symmetric for reader in constant.readers
    }
    found = []
    for node in model.graph:
        constant = weights.get(node.name or "")
        operator = target.entry(node)
        if constant is None or constant.axis is None or operator.bias_input is None:
            continue
        bias = node.inputs[operator.bias_input] if operator.bias_input < len(node.inputs) else None
        if bias is None or (is_constant(bias) and len(bias.uses()) == 1):
            found.append((node, constant))
    return found


def _weight_error(weight: NDArray[Any], quantized: QuantizedTensor) -> FloatArray:
    params = quantized.params
    shape = [1] * weight.ndim
    shape[params.axis or 0] = -1
    restored: FloatArray = quantized.values * params.scale.astype(np.float64).reshape(shape)
    return restored - weight.astype(np.float64)


def _output_mean(error: FloatArray, mean: FloatArray, axis: int) -> FloatArray:
    """Mean of ``error * x`` per output channel; a grouped weight sees only its group's channels."""
    by_channel = np.moveaxis(error, axis, 0)
    by_input = by_channel.reshape(*by_channel.shape[:2], -1).sum(axis=2)
    outputs, inputs = by_input.shape
    groups = mean.size // inputs
    grouped = by_input.reshape(groups, outputs // groups, inputs)
    by_output: FloatArray = np.einsum("goi,gi->go", grouped, mean.reshape(groups, inputs))
    return by_output.reshape(-1)


def _add_to_bias(graph: ir.Graph, node: ir.Node, position: int, shift: FloatArray) -> None:
    bias = node.inputs[position] if position < len(node.inputs) else None
    old: NDArray[Any] = array_of(bias) if bias is not None else np.zeros(shift.shape, np.float32)
    array = (old + shift.reshape(old.shape if old.size == shift.size else shift.shape)).astype(old.dtype)
    if bias is not None:
        bias.const_value = ir.tensor(array, name=bias.name)
        bias.shape = ir.Shape(array.shape)
        return
    value = ir.Value(name=f"{node.name}_bias", shape=ir.Shape(array.shape), const_value=ir.tensor(array))
    value.type = node.outputs[0].type
    graph.register_initializer(value)
    node.resize_inputs(position + 1)
    node.replace_input_with(position, value)
