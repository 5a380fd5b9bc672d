"""A model and its weights apart: a session then reads the weights where they are.

Writing 90 MB of weights into a protobuf message and reading them again takes 0.6 s, far longer than running
most models once, and needs three copies of them.
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
"""Smaller tensors stay inside: shapes are inferred from some of them."""
PLAIN = "biuf"
"""Kinds of types that numpy itself has: others, as bfloat16, stay inside too."""
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
        The model, where detached weights are declared external.
    dict of str to array
        The detached weights; contiguous, and not copied where they already were.
    """
    weights: Weights = {}
    stand_ins: dict[ir.Value, ir.TensorProtocol] = dict(_embedded(model))
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None or tensor.dtype == ir.DataType.STRING or tensor.nbytes < LEAST_BYTES:
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
    """Weights in other files as they are inside a message: who reads the message does not know the files."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor):
                yield value, ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name)


@contextlib.contextmanager
def standing_in(stand_ins: Mapping[ir.Value, ir.TensorProtocol]) -> Iterator[None]:
    """While open, these tensors take the place of the constants of their values."""
    constants = {value: value.const_value for value in stand_ins}
    for value, tensor in stand_ins.items():
        value.const_value = tensor
    try:
        yield
    finally:
        for value, constant in constants.items():
            value.const_value = constant
