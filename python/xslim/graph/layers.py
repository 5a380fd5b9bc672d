"""Convolutions and matrix products as linear layers: their input vectors and their weight matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.linear import LAYOUTS, Layout, Shape, is_plain
from xslim.graph.ops import attribute, constant, is_constant, static_shape

MAX_COLUMNS = 1152
"""Largest number of columns of a Gram matrix; layers with more are divided into blocks of channels."""


@dataclass(frozen=True)
class Window:
    """The window of a convolution; for a one-dimensional convolution, images have height 1.

    Attributes
    ----------
    kernel, strides, dilations : pair of int
    pads : tuple of int
        Padding before the first row and column, and after the last row and column.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]

    def output(self, height: int, width: int) -> tuple[int, int]:
        """Return the number of positions of the window along both axes."""
        sizes = []
        for axis, size in enumerate((height, width)):
            padded = size + self.pads[axis] + self.pads[axis + 2]
            reach = self.dilations[axis] * (self.kernel[axis] - 1) + 1
            sizes.append(max(0, (padded - reach) // self.strides[axis] + 1))
        return sizes[0], sizes[1]


@dataclass(frozen=True)
class Vectors:
    """The input vectors of one or several layers; their Gram matrix is stored under this key.

    Attributes
    ----------
    source : str
        Name of the tensor that holds the vectors.
    blocks, columns : int
        A vector has ``blocks * columns`` elements; each block has a Gram matrix of its own.
    window : Window or None
        The window that cuts vectors out of images; None if the vectors lie along the tensor's last axis.
    """

    source: str
    blocks: int
    columns: int
    window: Window | None = None


@dataclass(frozen=True)
class Layer:
    """A node that multiplies its input by a constant matrix.

    Attributes
    ----------
    node, weight : str
        Names of the node and of its initializer.
    vectors : Vectors
        The input vectors.
    layout : Layout
        The layout of the weight's channels.
    """

    node: str
    weight: str
    vectors: Vectors
    layout: Layout

    @property
    def groups(self) -> int:
        """Number of groups; each group computes a part of the output from a part of the input."""
        return self.layout.groups

    @property
    def transposed(self) -> bool:
        """Whether the weight is stored as inputs x outputs."""
        return self.layout.outputs_axis != 0

    def matrix(self, weight: NDArray[Any]) -> NDArray[Any]:
        """Return the weight as outputs x inputs of one group, in C order."""
        return np.ascontiguousarray(weight.T if self.transposed else weight.reshape(weight.shape[0], -1))

    def restore(self, matrix: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        """Return a matrix in the shape of the weight."""
        return np.ascontiguousarray(matrix.T if self.transposed else matrix.reshape(shape))

    def mean_output(self, matrix: NDArray[Any], mean: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the output of a matrix for the mean input vector."""
        rows = matrix.astype(np.float64).reshape(self.groups, matrix.shape[0] // self.groups, -1)
        output: NDArray[np.float64] = np.einsum("gri,gi->gr", rows, mean.reshape(self.groups, -1))
        return output.reshape(-1)


def layers(graph: ir.Graph) -> Mapping[str, Layer]:
    """Return every linear layer of the graph, by the name of its node."""
    found = (_layer(node) for node in graph)
    return {layer.node: layer for layer in found if layer is not None}


def _layer(node: ir.Node) -> Layer | None:
    read = _READERS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
    if read is None or len(node.inputs) < 2:
        return None
    source, weight = node.inputs[0], node.inputs[1]
    if source is None or weight is None or not is_constant(weight) or is_constant(source):
        return None
    shape = static_shape(weight)
    return read(node, source.name or "", weight.name or "", shape) if shape and 0 not in shape else None


def _convolution(node: ir.Node, source: str, weight: str, shape: Shape) -> Layer | None:
    window = _window(node, shape[2:])
    return None if window is None else _of_shape(node, source, weight, shape, window)


def _product(node: ir.Node, source: str, weight: str, shape: Shape) -> Layer | None:
    return _of_shape(node, source, weight, shape) if len(shape) == 2 and is_plain(node) else None


def _of_shape(node: ir.Node, source: str, weight: str, shape: Shape, window: Window | None = None) -> Layer:
    layout = LAYOUTS[node.op_type](node)
    channels, columns = layout.inputs_of_group(shape), math.prod(shape) // layout.outputs(shape)
    parts = _parts(channels, columns // channels)
    vectors = Vectors(source, layout.groups * parts, columns // parts, window)
    return Layer(node.name or "", weight, vectors, layout)


def _parts(channels: int, area: int) -> int:
    """Return the least number of equal parts of the channels with at most `MAX_COLUMNS` columns each."""
    fitting = (n for n in range(1, channels + 1) if channels % n == 0 and channels // n * area <= MAX_COLUMNS)
    return next(fitting, channels)


def _window(node: ir.Node, kernel: tuple[int, ...]) -> Window | None:
    rank = len(kernel)
    if rank not in (1, 2) or attribute(node, "auto_pad") not in (None, "NOTSET", "VALID"):
        return None
    strides = tuple(attribute(node, "strides") or (1,) * rank)
    dilations = tuple(attribute(node, "dilations") or (1,) * rank)
    pads = tuple(attribute(node, "pads") or (0,) * (2 * rank))
    if rank == 1:
        return Window((1, kernel[0]), (1, strides[0]), (1, dilations[0]), (0, pads[0], 0, pads[1]))
    return Window(
        (kernel[0], kernel[1]),
        (strides[0], strides[1]),
        (dilations[0], dilations[1]),
        (pads[0], pads[1], pads[2], pads[3]),
    )


_READERS = {"Conv": _convolution, "MatMul": _product, "Gemm": _product}


def weight_of(graph: ir.Graph, layer: Layer) -> NDArray[Any]:
    """Return the layer's weight."""
    array = constant(graph.initializers[layer.weight])
    assert array is not None
    return array
