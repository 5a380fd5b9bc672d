"""Insert factors around float operators, so that equalisation can scale the channels of int8 tensors there.

The channels of the output of a normalisation, a Gelu or a Swish often differ by orders of magnitude.
Equalisation cannot scale them in the operator itself if a sum reads the output as well, or if the operator is
not homogeneous. A Mul by one factor per channel is therefore inserted before the quantiser of the int8
readers, and another one between an int8 tensor and a function that is not homogeneous. Equalisation chooses
the factors, and the weights of the neighbouring layers take up the inverse. The integer layers stay; the
products and the function between them compute in float. Factors that no layer can take up are removed again.

Source: Xiao et al., "SmoothQuant", ICML 2023 (arXiv:2211.10438). That method merges all factors into the
operator before; here a factor that cannot be merged is an operator of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

import numpy as np
import onnx_ir as ir

from xslim.graph.editing import GraphEditor
from xslim.graph.factors import is_factor, mark_factor
from xslim.graph.layers import Layer, layers
from xslim.graph.ops import constant
from xslim.graph.outputs import values_by_name
from xslim.graph.scheme import QuantPlan
from xslim.quantization.channels import PINNED, Channels, trace_channels

SUFFIX = "_balanced"

FUNCTIONS = frozenset(
    {"Celu", "Elu", "Erf", "Exp", "Gelu", "HardSigmoid", "HardSwish", "Mish", "Selu", "Sigmoid", "Softplus"}
    | {"Softsign", "Swish", "Tanh"}
)
"""Elementwise functions that are not homogeneous: ``f(s x)`` is not ``s f(x)``."""

Readers = list[tuple[ir.Node, int]]


def insert_factors(model: ir.Model, plan: QuantPlan, *, everywhere: bool = False) -> ir.Model:
    """Return a copy of the model with a factor of 1 per channel where equalisation can use one.

    Parameters
    ----------
    model : onnx_ir.Model
        The prepared float model; it is not changed.
    plan : QuantPlan
        The plan of the model.
    everywhere : bool
        Whether factors also stand around operators that the plan makes int8. These operators become float.
        Otherwise factors stand only between float operators and int8 layers.
    """
    changed = model.clone()
    graph = changed.graph
    if everywhere:
        _insert_where_free(graph, plan, _functions_of)
        _insert_where_free(graph, plan, _int8_readers_of)
    _insert_where_free(graph, plan, partial(_layers_of, everywhere=everywhere))
    return changed


Choice = Callable[[ir.Value, "_Graph"], Readers]
"""Chooses the readers of a pinned int8 tensor that read the product instead."""


class _Graph:
    """What choices need to know about a graph and its plan."""

    def __init__(self, graph: ir.Graph, plan: QuantPlan) -> None:
        self.int8 = plan.int8_operators
        self.layers: Mapping[str, Layer] = layers(graph)
        self.channels: Mapping[str, Channels] = trace_channels(graph)

    def is_pinned(self, value: ir.Value) -> bool:
        known = self.channels.get(value.name or "")
        return known is None or bool((known.ids == PINNED).all())

    def writes_int8(self, node: ir.Node | None) -> bool:
        return node is not None and node.name in self.int8


def _functions_of(value: ir.Value, known: _Graph) -> Readers:
    """Return the functions that read an int8 layer's output."""
    producer = value.producer()
    if not known.writes_int8(producer) or value.name not in known.channels:
        return []
    return [(use.node, use.idx) for use in value.uses() if use.node.op_type in FUNCTIONS]


def _int8_readers_of(value: ir.Value, known: _Graph) -> Readers:
    """Return all int8 readers of a tensor that no layer writes."""
    if not _may_be_scaled(value, known, everywhere=True):
        return []
    return [(use.node, use.idx) for use in value.uses() if use.node.name in known.int8]


def _layers_of(value: ir.Value, known: _Graph, *, everywhere: bool) -> Readers:
    """Return the int8 layers that read a tensor which no layer writes, or no int8 operator at all."""
    if not _may_be_scaled(value, known, everywhere=everywhere):
        return []
    return [(use.node, use.idx) for use in value.uses() if use.idx == 0 and _is_int8_layer(use.node, known)]


def _may_be_scaled(value: ir.Value, known: _Graph, *, everywhere: bool) -> bool:
    producer = value.producer()
    if producer is None or is_factor(producer):
        return False
    if not known.writes_int8(producer):
        return True
    return everywhere and producer.name not in known.layers


def _is_int8_layer(node: ir.Node, known: _Graph) -> bool:
    return node.name in known.int8 and node.name in known.layers


def _insert_where_free(graph: ir.Graph, plan: QuantPlan, choose: Choice) -> None:
    """Insert factors for the chosen readers of every pinned int8 tensor; keep those that can be scaled."""
    known, values = _Graph(graph, plan), values_by_name(graph)
    editor, added = GraphEditor(graph), []
    for name in dict.fromkeys(name for group in plan.groups for name in group.tensors):
        value = values[name]
        axis = _channel_axis(value, known)
        readers = choose(value, known) if axis is not None and known.is_pinned(value) else []
        if readers and axis is not None:
            added.append(_insert(editor, value, axis, readers))
    graph.sort()
    free = _Graph(graph, plan)
    for node in added:
        # A factor can be used if the tensor on its int8 side can be scaled.
        source, product = node.inputs[0], node.outputs[0]
        assert source is not None
        if free.is_pinned(source) and free.is_pinned(product):
            _remove(node)


def _channel_axis(value: ir.Value, known: _Graph) -> int | None:
    """Return the channel axis of a tensor, counted from the front, as its writer or its readers define it."""
    if value.shape is None:
        return None
    axis, rank = _axis_of_neighbours(value, known, len(value.shape)), len(value.shape)
    return axis if axis is not None and axis < rank and isinstance(value.shape[axis], int) else None


def _axis_of_neighbours(value: ir.Value, known: _Graph, rank: int) -> int | None:
    producer = value.producer()
    sources = [value, *(producer.inputs[:1] if producer is not None else ())]
    names = [source.name for source in sources if source is not None and source.name]
    axes = [known.channels[name].axis for name in names if name in known.channels]
    if axes:
        return axes[0]
    for use in value.uses():
        layer = known.layers.get(use.node.name or "") if use.idx == 0 else None
        if layer is not None:
            return rank - 1 if layer.vectors.window is None else 1
    return None


def _insert(editor: GraphEditor, value: ir.Value, axis: int, readers: Readers) -> ir.Node:
    assert value.shape is not None
    count, dtype = value.shape[axis], value.dtype or ir.DataType.FLOAT
    assert isinstance(count, int)
    name = editor.fresh(f"{value.name}{SUFFIX}")
    ones = np.ones((count,) + (1,) * (len(value.shape) - 1 - axis), dtype.numpy())
    factors = editor.constant(f"{name}_factors", ones)
    product = ir.Node("", "Mul", [value, factors], name=name)
    mark_factor(product)
    output = product.outputs[0]
    output.name, output.dtype, output.shape = name, dtype, value.shape
    editor.graph.append(product)
    for node, position in readers:
        node.replace_input_with(position, output)
    return product


def remove_unused_factors(model: ir.Model) -> ir.Model:
    """Return the model without the inserted products whose factors are all 1."""
    changed = model.clone()
    for node in list(changed.graph):
        factors = constant(node.inputs[1]) if is_factor(node) else None
        if factors is not None and (factors == 1).all():
            _remove(node)
    return changed


def remove_factors(model: ir.Model, names: Collection[str]) -> ir.Model:
    """Return the model without the inserted products of these names, whose factors are still 1."""
    changed = model.clone()
    for node in list(changed.graph):
        if is_factor(node) and node.outputs[0].name in names:
            _remove(node)
    return changed


def _remove(node: ir.Node) -> None:
    source, graph = node.inputs[0], node.graph
    assert source is not None
    assert graph is not None
    node.outputs[0].replace_all_uses_with(source)
    graph.remove(node, safe=True)
