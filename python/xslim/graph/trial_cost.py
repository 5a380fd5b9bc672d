"""What a run would need for given sizes of the inputs, before it is tried."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import onnx_ir as ir
from onnx_ir.passes import common

from xslim.graph.ops import all_values, static_shape


def elements_of_a_run(model: ir.Model, shapes: Mapping[str, Sequence[int]]) -> int:
    """Elements of all inputs and outputs, and of the largest tensor in between, as far as shapes tell.

    Parameters
    ----------
    model : onnx_ir.Model
        Left unchanged.
    shapes : mapping of str to sequence of int
        A shape for every input.
    """
    trial = model.clone()
    for value in trial.graph.inputs:
        if value.name is not None and value.name in shapes:
            value.shape = ir.Shape(shapes[value.name])
    for node in trial.graph.all_nodes():
        for value in node.outputs:
            value.shape = None
    common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(trial)
    ports = {*trial.graph.inputs, *trial.graph.outputs}
    inner = max((_elements(value) for value in all_values(trial) if not value.is_initializer()), default=0)
    return sum(map(_elements, ports)) + inner


def _elements(value: ir.Value) -> int:
    return math.prod(static_shape(value) or (0,))
