"""Infer the shapes and types of all values of a model once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import onnx_ir as ir
from onnx_ir.passes import common

from xslim.graph.outside import without_weights

if TYPE_CHECKING:
    import onnx

logger = logging.getLogger(__name__)


def infer_once(model: ir.Model) -> None:
    """Add what onnx infers about the values of a model.

    The pass of onnx_ir reads the whole inferred model back into objects, nodes included, which takes longer
    than the inference. Here only the shapes and types that differ are read back.
    """
    if not _is_flat(model) or not _infer_flat(model):
        _infer_nested(model)


def _is_flat(model: ir.Model) -> bool:
    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return not model.functions and not any(
        attribute.type in kinds for node in model.graph for attribute in node.attributes.values()
    )


def _infer_flat(model: ir.Model) -> bool:
    """Infer a model without nested graphs and functions; return False if onnx refuses it."""
    from onnx.shape_inference import infer_shapes

    for value in model.graph.initializers.values():
        _state(value)
    try:
        inferred = infer_shapes(without_weights(model), check_type=False, strict_mode=False, data_prop=True)
    # What onnx and onnx_ir raise for a model that they do not understand is not documented.
    except Exception as error:  # noqa: BLE001
        logger.debug("onnx infers no shapes: %s", error)
        return False
    computed = {value.name: value for node in reversed(model.graph) for value in node.outputs if value.name}
    for info in (*inferred.graph.value_info, *inferred.graph.output):
        if info.name in computed:
            _learn(computed[info.name], info.type)
    return True


def _state(value: ir.Value) -> None:
    """State the type and shape of an initializer, which becomes an input, if only its tensor knows them."""
    tensor = value.const_value
    if tensor is not None:
        if value.shape is None:
            value.shape = ir.Shape(list(tensor.shape.numpy()))
        if value.dtype is None:
            value.dtype = tensor.dtype


def _learn(value: ir.Value, found: onnx.TypeProto) -> None:
    """Give a value the type and shape that were found, where they are other than the known ones."""
    if found.HasField("tensor_type") and isinstance(value.type, ir.TensorType):
        tensor = found.tensor_type
        known = () if value.shape is None else value.shape.dims
        same_shape = not tensor.HasField("shape") or (
            value.shape is not None
            and len(known) == len(tensor.shape.dim)
            and all(
                type(size) is int and dim.HasField("dim_value") and dim.dim_value == size
                for size, dim in zip(known, tensor.shape.dim, strict=True)
            )
        )
        if same_shape and tensor.elem_type in (0, value.type.dtype.value):
            return
    shape = ir.serde.deserialize_type_proto_for_shape(found)
    if shape is not None and value.shape != shape:
        value.shape = shape
    kind = ir.serde.deserialize_type_proto_for_type(found)
    if kind is not None and value.dtype != kind.dtype:
        value.dtype = kind.dtype


def _infer_nested(model: ir.Model) -> None:
    graph = model.graph
    inputs = list(graph.inputs)
    constants = [(value, value.const_value) for value in graph.initializers.values()]
    common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(model)
    # Where the model cannot be serialised, the pass leaves its initializers among the inputs.
    if len(graph.inputs) != len(inputs):
        graph.inputs[:] = inputs
        for value, tensor in constants:
            value.const_value = tensor
            graph.register_initializer(value)
