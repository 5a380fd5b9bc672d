"""The cost of a model: operators, parameters, multiply-accumulate operations."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import onnx_ir as ir

from xslim.graph.linear import LAYOUTS
from xslim.graph.ops import attribute

Dims = list[int]
DimsOf = Callable[[ir.Value | None], Dims | None]


@dataclass(frozen=True)
class OperatorCost:
    """One operator.

    Attributes
    ----------
    name, op_type : str
        The operator.
    macs : int
        Multiply-accumulate operations of one run; 0 for operators that do not multiply and sum.
    parameters : int
        Number of elements of the operator's constant weights.
    """

    name: str
    op_type: str
    macs: int
    parameters: int


@dataclass(frozen=True)
class ModelCost:
    """The cost of a whole model, including nested graphs but not the bodies of functions.

    Attributes
    ----------
    operators : tuple of OperatorCost
        In graph order.
    parameters : int
        Number of elements of all distinct weights: initializers except integers of 16 bits or more.
    parameter_bytes : int
        Size of these weights in bytes.
    unknown_shapes : bool
        Whether `macs` is a lower bound: some shapes are unknown, as those inside of functions, or an Einsum
        has more than two operands.
    """

    operators: tuple[OperatorCost, ...]
    parameters: int
    parameter_bytes: int
    unknown_shapes: bool = False

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations of one run."""
        return sum(operator.macs for operator in self.operators)

    @property
    def counts(self) -> Counter[str]:
        """Number of operators of every type."""
        return Counter(operator.op_type for operator in self.operators)


def model_cost(model: ir.Model, sizes: Mapping[str, int] | None = None) -> ModelCost:
    """Count operators, parameters and multiply-accumulate operations.

    Parameters
    ----------
    model : onnx_ir.Model
        A model with inferred shapes.
    sizes : mapping of str to int, optional
        Sizes of symbolic dimensions; unknown ones count as 1.
    """
    dims = partial(_dims, sizes or {})
    multiplying = _multiplying_functions(model)
    operators = []
    unknown = False
    for graph in model.graphs():
        for node in graph:
            macs = None if node.op_identifier() in multiplying else _macs(node, dims)
            unknown = unknown or macs is None
            weights = {value for value in node.inputs if value is not None and _is_weight(value)}
            parameters = sum(_elements(value) for value in weights)
            operators.append(OperatorCost(node.name or "", node.op_type, macs or 0, parameters))
    weights = {
        value for graph in model.graphs() for value in graph.initializers.values() if _is_weight(value)
    }
    size = sum(value.const_value.nbytes for value in weights if value.const_value is not None)
    return ModelCost(tuple(operators), sum(_elements(value) for value in weights), size, unknown)


def _multiplying_functions(model: ir.Model) -> set[ir.OperatorIdentifier]:
    """Return the functions of a model with operators inside that multiply and sum; a call may be nested."""
    found: set[ir.OperatorIdentifier] = set()
    before = -1
    while len(found) > before:
        before = len(found)
        found |= {
            name
            for name, function in model.functions.items()
            if any(node.op_type in _COUNTS or node.op_identifier() in found for node in function.all_nodes())
        }
    return found


def _is_weight(value: ir.Value) -> bool:
    tensor = value.const_value
    if tensor is None or not value.is_initializer():
        return False
    dtype = tensor.dtype
    if dtype == ir.DataType.STRING:
        return False
    return dtype.is_floating_point() or (dtype.itemsize <= 1 and dtype != ir.DataType.BOOL)


def _elements(value: ir.Value) -> int:
    return value.const_value.size if value.const_value is not None else 0


def _dims(sizes: Mapping[str, int], value: ir.Value | None) -> Dims | None:
    """Return the shape, with 1 for every unknown dimension."""
    if value is None or value.shape is None:
        return None
    given = (dim if isinstance(dim, int) else sizes.get(str(dim.value), 1) for dim in value.shape)
    return [max(size, 1) for size in given]


def _macs(node: ir.Node, dims: DimsOf) -> int | None:
    """Return the multiply-accumulate operations of a node, or None if shapes are missing."""
    count = _COUNTS.get(node.op_type)
    return 0 if count is None else count(node, dims)


def _convolution(like: str, node: ir.Node, dims: DimsOf, weight_input: int = 1) -> int | None:
    """At every position, each channel of the weight's first axis is multiplied by all weights of its row."""
    side = node.outputs[0] if LAYOUTS[like](node).outputs_axis == 0 else node.inputs[0]
    elements, weight = dims(side), dims(node.inputs[weight_input])
    return None if elements is None or weight is None else math.prod(elements) * math.prod(weight[1:])


def _product(like: str, node: ir.Node, dims: DimsOf) -> int | None:
    """Every output element sums over the channels of the first factor."""
    data, output = dims(node.inputs[0]), dims(node.outputs[0])
    if not data or output is None:
        return None
    return math.prod(output) * data[LAYOUTS[like](node).data_axis]


def _recurrent(node: ir.Node, dims: DimsOf) -> int | None:
    """Every step multiplies the input and the state with their weights."""
    data, weight, state = (dims(value) for value in node.inputs[:3])
    if data is None or weight is None or state is None:
        return None
    return math.prod(data[:2]) * (math.prod(weight) + math.prod(state))


def _attention(node: ir.Node, dims: DimsOf) -> int | None:
    """Scores and their product with the values; query (N, heads, length, size) or (N, length, size)."""
    query, key = dims(node.inputs[0]), dims(node.inputs[1])
    return None if not query or key is None else 2 * math.prod(query) * key[-2]


def _einsum(node: ir.Node, dims: DimsOf) -> int | None:
    """Two operands are multiplied once for every combination of their indices."""
    if len(node.inputs) == 1:
        return 0
    equation, shapes = attribute(node, "equation"), [dims(value) for value in node.inputs]
    if len(shapes) != 2 or not isinstance(equation, str):
        return None
    sizes: dict[str, int] = {}
    for term, shape in zip(equation.replace(" ", "").split("->")[0].split(","), shapes, strict=False):
        if shape is None:
            return None
        for index, size in zip(_indices(term, len(shape)), shape, strict=False):
            sizes[index] = max(size, sizes.get(index, 1))
    return math.prod(sizes.values())


def _indices(term: str, rank: int) -> list[str]:
    """Return the index of every axis; those that an ellipsis stands for are counted from its end."""
    before, _, after = term.partition("...")
    hidden = range(rank - len(before) - len(after), 0, -1)
    return [*before, *map(str, hidden), *after]


_COUNTS: Mapping[str, Callable[[ir.Node, DimsOf], int | None]] = {
    "Conv": partial(_convolution, "Conv"),
    "DeformConv": partial(_convolution, "Conv"),
    "ConvInteger": partial(_convolution, "Conv"),
    "QLinearConv": partial(_convolution, "Conv", weight_input=3),
    "ConvTranspose": partial(_convolution, "ConvTranspose"),
    "MatMul": partial(_product, "MatMul"),
    "MatMulInteger": partial(_product, "MatMul"),
    "DynamicQuantizeMatMul": partial(_product, "MatMul"),
    "QLinearMatMul": partial(_product, "MatMul"),
    "Gemm": partial(_product, "Gemm"),
    "Einsum": _einsum,
    "LSTM": _recurrent,
    "DynamicQuantizeLSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
    "Attention": _attention,
}
