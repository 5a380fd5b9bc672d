"""Apply a function of a ModelProto to a model without copying the large weights into the ModelProto."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import onnx_ir as ir

from xslim.graph.interface import Interface

if TYPE_CHECKING:
    import onnx

# Float tensors with more elements are weights; scales, epsilons and resize factors have fewer.
_LARGEST_PARAMETER = 16
# Integer tensors with more elements are tables, not shape arithmetic.
_LARGEST_INDEX = 1024


def transform_proto(model: ir.Model, function: Callable[[onnx.ModelProto], onnx.ModelProto]) -> ir.Model:
    """Apply `function` to a copy of the model in which weights are graph inputs, then restore the weights.

    The copy does not contain the model's functions. The interface is restored even if `function` drops inputs
    that nothing reads.

    Parameters
    ----------
    model : onnx_ir.Model
        The model. It is unchanged afterwards; meanwhile its weights are inputs as well.
    function : callable
        Function of a ModelProto that returns a ModelProto. Its argument has a few megabytes, however large
        the model is.

    Returns
    -------
    onnx_ir.Model
        A new model that shares the weights with the old one.
    """
    interface = Interface.of(model)
    weights = _weights(model)
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


def without_weights(model: ir.Model) -> onnx.ModelProto:
    """Return the model without its functions, as a ModelProto in which weights are graph inputs."""
    return _without(model, _weights(model))


def _weights(model: ir.Model) -> dict[str, ir.Value]:
    return {
        value.name: value
        for value in model.graph.initializers.values()
        if is_large(value) and not value.is_graph_output() and value.name is not None
    }


def is_large(value: ir.Value) -> bool:
    """Whether the value is a weight, which is left out, and not a constant of the graph's arithmetic."""
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
