"""How convolutions and matrix products lay out their weights: the only table of this in the package.

=============  ===========================================  ===============  =================
operator       weight                                       channels of the  channels of the
                                                            data             result
=============  ===========================================  ===============  =================
Conv           (outputs, inputs / groups, kernel...)        axis 1           axis 1
ConvTranspose  (inputs, outputs / groups, kernel...)        axis 1           axis 1
Gemm           (inputs, outputs), reversed with ``transB``  last, or first   axis 1
                                                            with ``transA``
MatMul         (..., inputs, outputs)                       last             last
=============  ===========================================  ===============  =================

A group reads its share of the inputs and writes its share of the outputs. The first axis of a convolution's
weight lists the channels of all groups, one group after another; the second axis has the length of one share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.ops import attribute

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """The axes and the groups of one operator's channels.

    Attributes
    ----------
    outputs_axis, inputs_axis : int
        Axes of the weight with the output and the input channels.
    data_axis, result_axis : int
        Axes of the operator's first input and of its output with the channels.
    groups : int
        Parts of the channels that are computed apart from each other.
    """

    outputs_axis: int
    inputs_axis: int
    data_axis: int = -1
    result_axis: int = -1
    groups: int = 1

    def outputs(self, shape: Shape) -> int:
        """Number of output channels of a weight of this shape."""
        return self._count(self.outputs_axis, shape)

    def inputs_of_group(self, shape: Shape) -> int:
        """Number of input channels that one output channel reads."""
        return self._count(self.inputs_axis, shape) // self.groups

    def along_outputs(self, vector: NDArray[Any], shape: Shape) -> NDArray[Any]:
        """Return a vector with one number per output channel in a shape that broadcasts over the weight."""
        return self._along(self.outputs_axis, vector, shape)

    def along_inputs(self, vector: NDArray[Any], shape: Shape) -> NDArray[Any]:
        """Return a vector with one number per input channel in a shape that broadcasts over the weight."""
        return self._along(self.inputs_axis, vector, shape)

    def _count(self, axis: int, shape: Shape) -> int:
        return shape[axis] * (1 if axis == 0 else self.groups)

    def _along(self, axis: int, vector: NDArray[Any], shape: Shape) -> NDArray[Any]:
        if axis == 0 or self.groups == 1:
            sizes = [1] * len(shape)
            sizes[axis] = -1
            return vector.reshape(sizes)
        # The channels of a group belong to the rows of that group alone.
        rows = np.repeat(vector.reshape(self.groups, -1), shape[0] // self.groups, axis=0)
        return rows.reshape(*shape[:2], *[1] * (len(shape) - 2))


def _groups(node: ir.Node) -> int:
    groups = attribute(node, "group")
    # An invalid number of groups is reported by the checks of the model; the cost of a model needs no error.
    return groups if isinstance(groups, int) and groups > 0 else 1


def _conv(node: ir.Node) -> Layout:
    return Layout(0, 1, data_axis=1, result_axis=1, groups=_groups(node))


def _transposed_conv(node: ir.Node) -> Layout:
    return Layout(1, 0, data_axis=1, result_axis=1, groups=_groups(node))


def _gemm(node: ir.Node) -> Layout:
    outputs, inputs = (0, 1) if attribute(node, "transB") else (1, 0)
    return Layout(outputs, inputs, data_axis=0 if attribute(node, "transA") else -1, result_axis=1)


LAYOUTS: Mapping[str, Callable[[ir.Node], Layout]] = {
    "Conv": _conv,
    "ConvTranspose": _transposed_conv,
    "Gemm": _gemm,
    "MatMul": lambda _: Layout(-1, -2),
}
"""The layout of every operator whose second input may be a constant weight, by operator type."""


def is_plain(node: ir.Node) -> bool:
    """Whether the operator multiplies its data by the weight and does nothing else to it, as Gemm may."""
    return node.op_type != "Gemm" or (attribute(node, "alpha") == 1.0 and not attribute(node, "transA"))
