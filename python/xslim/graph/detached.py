"""Serialise a model without its weights, so that a session can use the arrays of the weights in place.

Writing 90 MB of weights into a protobuf message and reading the message takes 0.6 s, far longer than one run
of most models, and needs three copies of the weights.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Weights = dict[str, NDArray[Any]]

LEAST_BYTES = 4096
"""Tensors with fewer bytes stay in the message, because shape inference reads some of them."""
PLAIN = "biuf"
"""Kinds of numpy's own types. Tensors of other types, such as bfloat16, stay in the message too."""
LOCATION = "in memory"


def detach(model: ir.Model) -> tuple[bytes, Weights]:
    """Serialise a model without its larger weights.

    Parameters
    ----------
    model : onnx_ir.Model
        Left unchanged.

    Returns
    -------
    bytes
        The serialised model, in which the detached weights are declared external.
    dict of str to array
        The detached weights as contiguous arrays; those that are contiguous already are not copied.
    """
    weights: Weights = {}
    stand_ins: dict[ir.Value, ir.TensorProtocol] = dict(_embedded(model))
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or tensor.dtype == ir.DataType.STRING or tensor.nbytes < LEAST_BYTES:
            continue
        # onnxruntime does not find an external initializer that is an output, or that nothing reads.
        if value.is_graph_output() or not value.uses():
            continue
        array = np.ascontiguousarray(tensor.numpy())
        if array.dtype.kind in PLAIN and array.nbytes == tensor.nbytes:
            weights[name] = array
            shape = ir.Shape(array.shape)
            stand_ins[value] = ir.ExternalTensor(
                LOCATION, 0, array.nbytes, tensor.dtype, shape=shape, name=tensor.name or name
            )
    with standing_in(stand_ins):
        data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    return data, weights


def _embedded(model: ir.Model) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    """Yield external weights as embedded tensors, because the message's reader does not know the files."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor):
                yield value, ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name)


@contextlib.contextmanager
def standing_in(stand_ins: Mapping[ir.Value, ir.TensorProtocol]) -> Iterator[None]:
    """While open, the values have these tensors as their constants."""
    constants = {value: value.const_value for value in stand_ins}
    for value, tensor in stand_ins.items():
        value.const_value = tensor
    try:
        yield
    finally:
        for value, constant in constants.items():
            value.const_value = constant
