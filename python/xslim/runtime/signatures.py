"""Types and shapes of operators that only onnxruntime defines, as onnxruntime states them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import onnx_ir as ir

from xslim.errors import ModelError
from xslim.graph.outputs import with_outputs
from xslim.graph.outside import is_large
from xslim.runtime.isolated import Isolated

logger = logging.getLogger(__name__)

_HALF = "tensor(float16)"


@dataclass(frozen=True)
class Signature:
    """The parameters of an operator.

    Attributes
    ----------
    inputs, outputs : tuple of str
        Type variable of every parameter. If the operator is variadic, the last one applies to all further
        parameters.
    half : frozenset of str
        Type variables that may be float16.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    half: frozenset[str]


def signature(node: ir.Node, version: int) -> Signature | None:
    """Return the parameters of a node's operator as onnx or onnxruntime defines it, or None if neither does.

    Parameters
    ----------
    node : onnx_ir.Node
        Any node.
    version : int
        Version of the node's operator set.
    """
    from onnx import defs

    try:
        schema = defs.get_schema(node.op_type, version, node.domain)
    except defs.SchemaError:
        return _of_onnxruntime().get((node.domain, node.op_type))
    return Signature(
        tuple(parameter.type_str for parameter in schema.inputs),
        tuple(parameter.type_str for parameter in schema.outputs),
        frozenset(
            entry.type_param_str for entry in schema.type_constraints if _HALF in entry.allowed_type_strs
        ),
    )


@cache
def _of_onnxruntime() -> dict[tuple[str, str], Signature]:
    # This module is not public, but onnxruntime generates its documentation of operators from it.
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return {
        (schema.domain, schema.name): Signature(
            tuple(parameter.typeStr for parameter in schema.inputs),
            tuple(parameter.typeStr for parameter in schema.outputs),
            frozenset(
                entry.type_param_str for entry in schema.type_constraints if _HALF in entry.allowed_type_strs
            ),
        )
        for schema in getattr(state, "get_all_operator_schema", list)()
    }


def needs_onnxruntime(model: ir.Model) -> bool:
    """Whether onnx does not know some operator of the main graph and cannot infer types of its outputs."""
    return any(_is_foreign(node, model) and _untyped(node.outputs) for node in model.graph)


def state_types(model: ir.Model) -> None:
    """Give the untyped values of the main graph the types and shapes that onnxruntime infers.

    The model is loaded in a child process and does not run. If it cannot be loaded, nothing changes.
    """
    values = {value.name or "": value for node in model.graph for value in _untyped(node.outputs)}
    question = with_outputs(model, list(values))
    _weights_to_inputs(question.graph)
    try:
        with Isolated() as isolated:
            described = isolated.session(question, lean=True).described
    except ModelError as error:
        logger.debug("onnxruntime cannot tell the types behind its own operators: %s", error)
        return
    for name, kind, shape in described:
        _state(values[name], kind, shape)


def _weights_to_inputs(graph: ir.Graph) -> None:
    """Turn the weights into inputs: types do not depend on the contents of weights, which may be large."""
    for value in [value for value in graph.initializers.values() if is_large(value)]:
        graph.initializers.pop(value.name or "")
        value.const_value = None
        graph.inputs.append(value)


def _is_foreign(node: ir.Node, model: ir.Model) -> bool:
    from onnx import defs

    if node.op_identifier() in model.functions:
        return False
    return not defs.has(node.op_type, model.opset_imports.get(node.domain, 1), node.domain)


def _untyped(values: Sequence[ir.Value]) -> list[ir.Value]:
    return [value for value in values if value.name and (value.dtype is None or value.shape is None)]


def _state(value: ir.Value, kind: str, shape: Sequence[int | str | None] | None) -> None:
    name = kind.removeprefix("tensor(").removesuffix(")").upper()
    if name not in ir.DataType.__members__:
        return
    if value.dtype is None:
        value.type = ir.TensorType(ir.DataType[name])
    if value.shape is None and shape is not None:
        value.shape = ir.Shape(shape)
