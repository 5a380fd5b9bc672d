"""The inputs that a model must be fed with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from xslim.errors import ModelError


@dataclass(frozen=True)
class InputSpec:
    """Name, shape and element type of one model input.

    Attributes
    ----------
    name : str
        Name of the graph input.
    shape : tuple of int or None, or None
        The shape, with None for a symbolic dimension; None if the rank is unknown.
    dtype : numpy.dtype
        Element type; bfloat16 and the 8-bit floats come from ml_dtypes.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: np.dtype[np.generic]


def input_specs(model: ir.Model, *, texts: bool = False) -> list[InputSpec]:
    """Return the inputs that a caller has to feed, in the order of the graph.

    Initializers that old models (IR version 3) repeat in their list of inputs are left out.

    Parameters
    ----------
    model : onnx_ir.Model
        Its main graph is looked at.
    texts : bool
        Whether the caller can feed tensors of strings as well.

    Raises
    ------
    ModelError
        An input is not a tensor of numbers.
    """
    graph = model.graph
    return [_spec(value, texts) for value in graph.inputs if value.name not in graph.initializers]


def _spec(value: ir.Value, texts: bool) -> InputSpec:
    refused = value.dtype == ir.DataType.STRING and not texts
    if value.dtype is None or not isinstance(value.type, ir.TensorType) or refused:
        raise ModelError(
            f"the model's input has the type {value.type}; only tensors of numbers can be fed",
            where=str(value.name),
            hint="cut the model behind it",
        )
    shape = None if value.shape is None else tuple(_dimension(dim) for dim in value.shape)
    return InputSpec(str(value.name), shape, value.dtype.numpy())


def _dimension(dim: int | ir.SymbolicDim) -> int | None:
    # Some exporters write 0 or -1 for an unknown dimension.
    return dim if isinstance(dim, int) and dim > 0 else None
