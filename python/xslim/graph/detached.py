"""A model and its weights apart: a session then reads the weights where they are.

Writing 90 MB of weights into a protobuf message and reading them again takes 0.6 s, far longer than running
most models once, and needs three copies of them.
"""

from __future__ import annotations

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
    taken: dict[ir.Value, ir.TensorProtocol] = {}
    try:
        for name, value in model.graph.initializers.items():
            tensor = value.const_value
            if tensor is None or tensor.dtype == ir.DataType.STRING or tensor.nbytes < LEAST_BYTES:
                continue
            array = np.ascontiguousarray(tensor.numpy())
            if array.dtype.kind in PLAIN and array.nbytes == tensor.nbytes:
                weights[name], taken[value] = array, tensor
                shape = ir.Shape(array.shape)
                value.const_value = ir.ExternalTensor(
                    LOCATION, 0, array.nbytes, tensor.dtype, shape=shape, name=tensor.name or name
                )
        data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    finally:
        for value, tensor in taken.items():
            value.const_value = tensor
    return data, weights
