"""Run a program that wants a ModelProto without sending the large weights through it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import onnx_ir as ir

from xslim.graph.interface import Interface

if TYPE_CHECKING:
    import onnx

# Above this a float tensor is a weight: scales, epsilons and resize factors are smaller.
_LARGEST_PARAMETER = 16
# Above this a whole-number tensor is a table, not shape arithmetic.
_LARGEST_INDEX = 1024


def transform_proto(model: ir.Model, function: Callable[[onnx.ModelProto], onnx.ModelProto]) -> ir.Model:
    """Apply `function` to a copy of the model whose weights stand in as graph inputs, then put them back.

    Model-local functions stay out as well, and the interface is the same afterwards even where `function`
    drops inputs that nothing reads.

    Parameters
    ----------
    model : onnx_ir.Model
        Left unchanged apart from its interface, which gains and loses the stand-ins meanwhile.
    function : callable
        Gets a ModelProto of a few megabytes whatever the model's size, returns a ModelProto.

    Returns
    -------
    onnx_ir.Model
        A new model that shares the weights with the old one.
    """
    interface = Interface.of(model)
    weights = {
        value.name: value
        for value in model.graph.initializers.values()
        if is_large(value) and not value.is_graph_output() and value.name is not None
    }
    proto = _without(model, weights)
    result = ir.from_proto(function(proto))
    for value in [value for value in result.graph.inputs if value.name in weights]:
        result.graph.inputs.remove(value)
        value.const_value = weights[value.name or ""].const_value
        result.graph.register_initializer(value)
    result.functions.update(model.functions)
    for domain, version in model.opset_imports.items():
        if domain:
            result.opset_imports.setdefault(domain, version)
    interface.restore(result)
    return result


def is_large(value: ir.Value) -> bool:
    """Whether the value is a weight, which stays outside, and not a number of the graph's arithmetic."""
    tensor = value.const_value
    if tensor is None or value.is_graph_input():
        return False
    return tensor.size > (_LARGEST_PARAMETER if tensor.dtype.is_floating_point() else _LARGEST_INDEX)


def _without(model: ir.Model, weights: dict[str, ir.Value]) -> onnx.ModelProto:
    graph = model.graph
    inputs, initializers = list(graph.inputs), list(graph.initializers.values())
    functions = dict(model.functions)
    tensors = {name: value.const_value for name, value in weights.items()}
    model.functions.clear()
    for name, value in weights.items():
        graph.initializers.pop(name)
        value.const_value = None
        graph.inputs.append(value)
    try:
        return ir.to_proto(model)
    finally:
        graph.inputs[:] = inputs
        for name, value in weights.items():
            value.const_value = tensors[name]
        graph.initializers.clear()
        for value in initializers:
            graph.register_initializer(value)
        model.functions.update(functions)
