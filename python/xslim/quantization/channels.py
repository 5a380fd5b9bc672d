"""Find the channels of a model that can be rescaled, and those that must have the same scale.

A channel of a tensor can be multiplied by a positive number if the weights that read the channel are divided
by it; the network's results stay the same. Every channel of every tensor has a variable for its scale.
Operators equate variables (the operands of a sum need the same scale), leave them free (a convolution absorbs
any scale of its input and output), or pin them to 1 (a softmax does not absorb scales). Operators that are
not in the table pin the variables of all their inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.linear import LAYOUTS, is_plain
from xslim.graph.ops import attribute, constant, is_constant, static_shape

PINNED = 0
"""The variable whose scale is always 1."""

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Channels:
    """The variables of one tensor.

    Attributes
    ----------
    axis : int
        The channel axis.
    ids : int64 array, shape (channels,)
        A variable per channel; channels with equal variables have the same scale, those of `PINNED` the scale
        1.
    """

    axis: int
    ids: Ids


@dataclass
class Variables:
    """Variables for scales, and which of them are equal."""

    _parent: list[int] = field(default_factory=lambda: [PINNED])

    def fresh(self, count: int) -> Ids:
        """Return new free variables."""
        start = len(self._parent)
        self._parent.extend(range(start, start + count))
        return np.arange(start, start + count)

    def root(self, variable: int) -> int:
        """Return the representative of a variable; that of all variables equal to 1 is `PINNED`."""
        while self._parent[variable] != variable:
            self._parent[variable] = self._parent[self._parent[variable]]
            variable = self._parent[variable]
        return variable

    def equate(self, first: Ids, second: Ids) -> None:
        """Make each variable of `first` equal to the one at the same place of `second`."""
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            low, high = sorted((self.root(a), self.root(b)))
            self._parent[high] = low

    def pin(self, ids: Ids) -> None:
        """Fix variables at 1."""
        self.equate(ids, np.full_like(ids, PINNED))

    def resolve(self, ids: Ids) -> Ids:
        """Return the representatives."""
        return np.array([self.root(variable) for variable in ids.tolist()], np.int64)


class _Trace:
    """The state of the traversal of the graph from inputs to outputs."""

    def __init__(self) -> None:
        self.variables = Variables()
        self.channels: dict[ir.Value, Channels] = {}

    def of(self, value: ir.Value | None) -> Channels | None:
        return self.channels.get(value) if value is not None else None

    def free(self, value: ir.Value, axis: int, count: int) -> None:
        self.channels[value] = Channels(axis, self.variables.fresh(count))

    def pin(self, value: ir.Value | None) -> None:
        if (channels := self.of(value)) is not None:
            self.variables.pin(channels.ids)


def trace_channels(graph: ir.Graph) -> dict[str, Channels]:
    """Find the scale variables of every tensor that has channels.

    Tensors that are missing from the result cannot be rescaled.
    """
    trace = _Trace()
    for node in graph:
        rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if rule is None or not rule(node, trace):
            for value in node.inputs:
                trace.pin(value)
    for value in list(trace.channels):
        if value.is_graph_output() or any(use.node.graph is not graph for use in value.uses()):
            trace.pin(value)
    return {
        value.name: Channels(channels.axis, trace.variables.resolve(channels.ids))
        for value, channels in trace.channels.items()
        if value.name
    }


def _convolution(node: ir.Node, trace: _Trace) -> bool:
    shape = static_shape(node.inputs[1])
    return shape is not None and len(shape) >= 3 and _linear(node, trace, shape, len(shape))


def _product(node: ir.Node, trace: _Trace) -> bool:
    shape, rank = static_shape(node.inputs[1]), _rank(node.outputs[0])
    if shape is None or len(shape) != 2 or rank is None or not is_plain(node):
        return False
    return _linear(node, trace, shape, rank)


def _linear(node: ir.Node, trace: _Trace, shape: tuple[int, ...], rank: int) -> bool:
    """A weight that only this operator reads absorbs any scale on either side."""
    if not _own_weight(node):
        return False
    layout = LAYOUTS[node.op_type](node)
    source = trace.of(node.inputs[0])
    if source is not None and source.axis != layout.data_axis % rank:
        trace.pin(node.inputs[0])
    trace.free(node.outputs[0], layout.result_axis % rank, layout.outputs(shape))
    return True


def _own_weight(node: ir.Node) -> bool:
    """Whether weight and bias are constants, and no other node reads the weight."""
    parameters = [value for value in node.inputs[1:] if value is not None]
    return all(is_constant(value) for value in parameters) and len(parameters[0].uses()) == 1


def _same(node: ir.Node, trace: _Trace) -> bool:
    """The output is scaled as the input is."""
    return _same_as(node.inputs[0], node, trace)


def _same_as(value: ir.Value | None, node: ir.Node, trace: _Trace) -> bool:
    source = trace.of(value)
    if source is None:
        return True
    trace.channels[node.outputs[0]] = source
    return True


def _clip(node: ir.Node, trace: _Trace) -> bool:
    low = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    bounds = [value for value in node.inputs[1:] if value is not None]
    if low is None or float(low) != 0.0 or not all(is_constant(value) for value in bounds):
        return False
    return _same(node, trace)


def _pad(node: ir.Node, trace: _Trace) -> bool:
    source = trace.of(node.inputs[0])
    pads = constant(node.inputs[1]) if len(node.inputs) > 1 else None
    fill = constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] is not None else None
    zero = attribute(node, "mode") != "constant" or fill is None or float(fill) == 0.0
    if source is None:
        return True
    if pads is None or not zero or (len(node.inputs) > 3 and node.inputs[3] is not None):
        return False
    before, after = int(pads[source.axis]), int(pads[source.axis + pads.size // 2])
    if min(before, after) < 0 or ((before or after) and attribute(node, "mode") != "constant"):
        return False
    # Padded channels are zero, so any scale is valid for them.
    ids = [trace.variables.fresh(before), source.ids, trace.variables.fresh(after)]
    trace.channels[node.outputs[0]] = Channels(source.axis, np.concatenate(ids))
    return True


def _resize(node: ir.Node, trace: _Trace) -> bool:
    """A number that stands for what lies beyond the image is not scaled; zero is."""
    return not attribute(node, "extrapolation_value") and _same(node, trace)


def _slice(node: ir.Node, trace: _Trace) -> bool:
    source, rank = trace.of(node.inputs[0]), _rank(node.inputs[0])
    axes = constant(node.inputs[3]) if len(node.inputs) > 3 else None
    if source is None:
        return True
    if axes is None or rank is None or source.axis in [int(axis) % rank for axis in axes]:
        return False
    return _same(node, trace)


def _flatten(node: ir.Node, trace: _Trace) -> bool:
    """Flatten, or a Reshape that does the same: a channel becomes several columns."""
    source, shape = trace.of(node.inputs[0]), _dims(node.inputs[0])
    if source is None:
        return True
    output = _dims(node.outputs[0])
    if source.axis != 1 or shape is None or output is None or len(output) != 2:
        return False
    inner = shape[2:]
    if not all(isinstance(size, int) for size in inner):
        return False
    repeats = int(np.prod(np.array(inner, np.int64)))
    if output[1] != len(source.ids) * repeats:
        return False
    trace.channels[node.outputs[0]] = Channels(1, np.repeat(source.ids, repeats))
    return True


def _sum(node: ir.Node, trace: _Trace) -> bool:
    first, second = node.inputs
    if first is None or second is None:
        return False
    moving = [value for value in (first, second) if not is_constant(value)]
    sources = [trace.of(value) for value in moving]
    known = [source for source in sources if source is not None]
    if not known:
        return True
    if len(known) < len(moving) or any(source.axis != known[0].axis for source in known):
        return False
    rank = _rank(node.outputs[0])
    if any(_rank(value) != rank for value in moving) or len({len(source.ids) for source in known}) > 1:
        return False
    if len(moving) == 1 and not _scalable_operand(second if moving[0] is first else first, known[0], rank):
        return False
    if len(moving) == 2:
        trace.variables.equate(known[0].ids, known[1].ids)
    trace.channels[node.outputs[0]] = known[0]
    return True


def _scale(node: ir.Node, trace: _Trace) -> bool:
    """A product with a constant vector absorbs any scale; a product of activations passes one scale on."""
    first, second = node.inputs
    if first is None or second is None:
        return False
    if not is_constant(second):
        return _gate(node, trace)
    source, rank = trace.of(first), _rank(node.outputs[0])
    if source is None:
        axis = _vector_axis(constant(second), rank)
        if axis is None or len(second.uses()) > 1:
            return True
        trace.free(node.outputs[0], axis, _size(second))
        return True
    if not _scalable_operand(second, source, rank):
        return False
    trace.free(node.outputs[0], source.axis, len(source.ids))
    return True


def _gate(node: ir.Node, trace: _Trace) -> bool:
    """A product of two activations is scaled as one of them is, if the scale of the other one is 1."""
    scaled = [value for value in node.inputs if trace.of(value) is not None]
    rank = _rank(node.outputs[0])
    if not scaled:
        return True
    # The operand that is gated is as large as the product; a gate may be broadcast over the positions.
    large = [value for value in scaled if _dims(value) == _dims(node.outputs[0])]
    first, second = node.inputs
    if not large or rank is None or first is None or is_constant(first) or first is second:
        return False
    for value in scaled:
        if value is not large[0]:
            trace.pin(value)
    return _same_as(large[0], node, trace)


def _vector_axis(array: NDArray[Any] | None, rank: int | None) -> int | None:
    """Return the axis of a tensor of this rank along which a constant varies, if there is exactly one."""
    if array is None or rank is None or array.ndim > rank:
        return None
    axes = [rank - array.ndim + axis for axis, size in enumerate(array.shape) if size > 1]
    return axes[0] if len(axes) == 1 else None


def _size(value: ir.Value) -> int:
    array = constant(value)
    return 0 if array is None else array.size


def _scalable_operand(value: ir.Value, channels: Channels, rank: int | None) -> bool:
    """Whether a constant holds one number per channel, for this operator alone."""
    array = constant(value)
    if array is None or rank is None or len(value.uses()) > 1:
        return False
    shape = (1,) * (rank - array.ndim) + array.shape
    return len(shape) == rank and all(
        size == (len(channels.ids) if axis == channels.axis else 1) for axis, size in enumerate(shape)
    )


def _normalization(node: ir.Node, trace: _Trace) -> bool:
    """The affine part of a normalisation over the last axis absorbs any scale of its output."""
    trace.pin(node.inputs[0])
    rank = _rank(node.inputs[0])
    shape = static_shape(node.inputs[1])
    parameters = [value for value in node.inputs[1:] if value is not None]
    if rank is None or shape is None or len(shape) != 1 or not all(map(is_constant, parameters)):
        return True
    if attribute(node, "axis") in (-1, rank - 1) and len([o for o in node.outputs if o.uses()]) == 1:
        trace.free(node.outputs[0], rank - 1, shape[0])
    return True


def _concat(node: ir.Node, trace: _Trace) -> bool:
    sources = [trace.of(value) for value in node.inputs]
    axis, rank = attribute(node, "axis"), _rank(node.outputs[0])
    known = [source for source in sources if source is not None]
    if not known:
        return True
    if len(known) < len(sources) or rank is None or any(source.axis != axis % rank for source in known):
        return False
    trace.channels[node.outputs[0]] = Channels(known[0].axis, np.concatenate([s.ids for s in known]))
    return True


def _split(node: ir.Node, trace: _Trace) -> bool:
    source, axis, rank = trace.of(node.inputs[0]), attribute(node, "axis"), _rank(node.inputs[0])
    if source is None:
        return True
    if rank is None or axis % rank != source.axis:
        return False
    sizes = [(_dims(output) or (None,) * rank)[source.axis] for output in node.outputs]
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) < len(sizes) or sum(known) != len(source.ids):
        return False
    start = 0
    for output, size in zip(node.outputs, known, strict=True):
        trace.channels[output] = Channels(source.axis, source.ids[start : start + size])
        start += size
    return True


def _rank(value: ir.Value | None) -> int | None:
    return None if value is None or value.shape is None else len(value.shape)


def _dims(value: ir.Value | None) -> tuple[Any, ...] | None:
    return None if value is None or value.shape is None else tuple(value.shape)


Rule = Callable[[ir.Node, _Trace], bool]

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("Conv", "ConvTranspose"), _convolution),
    **dict.fromkeys(("MatMul", "Gemm"), _product),
    **dict.fromkeys(("Relu", "LeakyRelu", "Identity", "Dropout"), _same),
    **dict.fromkeys(("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"), _same),
    **dict.fromkeys(("Resize", "Upsample"), _resize),
    "Clip": _clip,
    "Pad": _pad,
    "Slice": _slice,
    **dict.fromkeys(("Flatten", "Reshape"), _flatten),
    "Add": _sum,
    "Mul": _scale,
    "LayerNormalization": _normalization,
    "Concat": _concat,
    "Split": _split,
}
"""How each operator relates the channels of its inputs and outputs; False pins them."""
