"""The int8 weights of a dynamically quantised model; each is stored once for every form that is read."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim import kernels
from xslim.errors import InternalError
from xslim.graph.editing import GraphEditor
from xslim.graph.io import release
from xslim.graph.linear import LAYOUTS
from xslim.graph.ops import constant, is_constant
from xslim.targets import Operator

SMALLEST_WEIGHT = 1024
"""Least number of elements of a weight: for smaller ones, int8 saves less than the additional nodes cost."""

_SAMPLE = 4096

Factors: TypeAlias = NDArray[np.float64]


def weight_refusal(node: ir.Node, entry: Operator) -> str | None:
    """Return why the weights of a node are not quantised, or None if they are."""
    values = [node.inputs[position] for position in entry.dynamic_weights if position < len(node.inputs)]
    reasons = [_refusal(value) for value in values]
    return next((reason for reason in reasons if reason), None if reasons else "it has no weight")


def _refusal(value: ir.Value | None) -> str | None:
    if value is None or not is_constant(value):
        return "its weight is not constant"
    if value.dtype != ir.DataType.FLOAT:
        return f"its weight is {value.dtype.name.lower() if value.dtype else 'of unknown type'}, not float"
    array = constant(value)
    if array is None or array.size < SMALLEST_WEIGHT:
        return f"its weight has fewer than {SMALLEST_WEIGHT} elements"
    try:
        if not np.isfinite(array).all():
            return "its weight holds values that are not finite"
        if _is_whole(array):
            return "its weight holds whole numbers"
        return None
    finally:
        del array
        release(value)


def _is_whole(array: NDArray[np.generic]) -> bool:
    flat = array.reshape(-1)
    return bool((flat[:_SAMPLE] == np.rint(flat[:_SAMPLE])).all() and (flat == np.rint(flat)).all())


def is_transposed(node: ir.Node) -> bool:
    """Whether the matrix of a product is stored as (outputs, inputs)."""
    return LAYOUTS[node.op_type](node).outputs_axis == 0


def matrix_of(node: ir.Node) -> NDArray[np.float32]:
    """Return the matrix (inputs, outputs) of a MatMul or Gemm."""
    array = _array(_weight(node, 1))
    return array.T if is_transposed(node) else array


class WeightStore:
    """Quantises weights and registers them with the graph."""

    def __init__(self, editor: GraphEditor) -> None:
        self._editor = editor
        self._matrices: dict[tuple[ir.Value, bool, bytes | None], tuple[ir.Value, ir.Value]] = {}
        self._gates: dict[ir.Value, tuple[ir.Value, ir.Value, ir.Value]] = {}
        self._restored: dict[tuple[ir.Value, int | None], ir.Value] = {}

    def matrix(self, node: ir.Node, factors: Factors | None = None) -> tuple[ir.Value, ir.Value]:
        """Return input 1 of a MatMul or Gemm as an int8 matrix (inputs, outputs), and its scales (outputs,).

        The rows are multiplied by `factors` before; products that read the same activation have equal
        factors.
        """
        value = _weight(node, 1)
        key = value, is_transposed(node), None if factors is None else factors.tobytes()
        if key not in self._matrices:
            array = matrix_of(node)
            if factors is not None:
                array = array * factors[:, None].astype(np.float32)
            quantized, scales = kernels.quantize_per_channel(array, 1, method="mse", balanced=True)
            del array
            release(value)
            self._matrices[key] = (
                self._editor.constant(f"{value.name}_quantized", quantized),
                self._editor.constant(f"{value.name}_scale", scales),
            )
        return self._matrices[key]

    def gates(self, node: ir.Node, position: int) -> tuple[ir.Value, ir.Value, ir.Value]:
        """Return recurrent weights (directions, gates, inputs) as int8 (directions, inputs, gates).

        Also returns scales and zero points (all 0) of shape (directions, gates).
        """
        value = _weight(node, position)
        if value not in self._gates:
            array = _array(value)
            parts = [kernels.quantize_per_channel(part, 0, method="mse", balanced=True) for part in array]
            scales = np.stack([scale for _, scale in parts])
            self._gates[value] = (
                self._editor.constant(f"{value.name}_quantized", np.stack([part.T for part, _ in parts])),
                self._editor.constant(f"{value.name}_scale", scales),
                self._editor.constant(f"{value.name}_zero_point", np.zeros(scales.shape, np.int8)),
            )
        return self._gates[value]

    def restored(self, node: ir.Node, position: int, axis: int | None) -> ir.Value:
        """Return the weight as the output of a DequantizeLinear; per tensor if `axis` is None."""
        value = _weight(node, position)
        if (value, axis) not in self._restored:
            array, scales = _quantize(value, axis)
            inputs = [
                self._editor.constant(f"{value.name}_quantized", array),
                self._editor.constant(f"{value.name}_scale", scales),
                self._editor.constant(f"{value.name}_zero_point", np.zeros(scales.shape, np.int8)),
            ]
            attributes = {} if axis is None else {"axis": axis}
            [output] = self._editor.node(
                "DequantizeLinear", inputs, [f"{value.name}_dequantized"], before=node, attributes=attributes
            )
            output.type, output.shape = value.type, value.shape
            self._restored[value, axis] = output
        return self._restored[value, axis]


def _weight(node: ir.Node, position: int) -> ir.Value:
    value = node.inputs[position]
    if value is None:
        raise InternalError(f"input {position} is missing", where=node.name)
    return value


def _array(value: ir.Value) -> NDArray[np.float32]:
    array = constant(value)
    if array is None:
        raise InternalError(f"{value.name!r} is not constant")
    return array.astype(np.float32, copy=False)


def _quantize(value: ir.Value, axis: int | None) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    array = _array(value)
    if axis is not None:
        quantized, scales = kernels.quantize_per_channel(array, axis, method="mse", balanced=True)
    else:
        quantized, scales = kernels.quantize_per_channel(array.reshape(1, -1), 0, method="mse", balanced=True)
        quantized, scales = quantized.reshape(array.shape), scales.reshape(())
    del array
    release(value)
    return quantized, scales
