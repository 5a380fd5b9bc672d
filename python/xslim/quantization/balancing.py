"""Insert factors between float operators and int8 layers, so that equalisation can scale the channels there.

The channels of the output of a normalisation or a Gelu often differ by orders of magnitude. Equalisation
cannot scale them in the operator itself if a sum reads the output as well, or if the operator is not
homogeneous. A Mul by one factor per channel is therefore inserted before the quantiser of the int8 layers.
Equalisation chooses the factors and divides the layers' weights by them. Factors that remain 1 are removed
again.

Source: Xiao et al., "SmoothQuant", ICML 2023 (arXiv:2211.10438). That method merges all factors into the
operator before; here a factor that cannot be merged is an operator of its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from xslim.graph.editing import GraphEditor
from xslim.graph.layers import Layer, layers
from xslim.graph.ops import constant
from xslim.graph.outputs import values_by_name
from xslim.graph.scheme import QuantPlan
from xslim.quantization.channels import PINNED, trace_channels

SUFFIX = "_balanced"


def insert_factors(model: ir.Model, plan: QuantPlan) -> ir.Model:
    """Return a copy of the model with a factor of 1 per channel wherever equalisation can use one."""
    changed = model.clone()
    graph = changed.graph
    channels, found, values = trace_channels(graph), layers(graph), values_by_name(graph)
    int8 = plan.int8_operators
    for group in plan.groups:
        for name in group.tensors:
            value, known = values[name], channels.get(name)
            producer = value.producer()
            if producer is None or producer.name in int8 or (known and (known.ids != PINNED).any()):
                continue
            readers = _int8_layers(value, found, int8)
            if readers:
                _insert(graph, value, readers)
    graph.sort()
    return changed


def _int8_layers(
    value: ir.Value, found: Mapping[str, Layer], int8: frozenset[str]
) -> list[tuple[ir.Node, Layer]]:
    """Return the int8 layers that read vectors along the last axis of the value."""
    readers = []
    for use in value.uses():
        layer = found.get(use.node.name or "") if use.idx == 0 else None
        if layer is not None and layer.node in int8 and layer.vectors.window is None:
            readers.append((use.node, layer))
    return readers


def _insert(graph: ir.Graph, value: ir.Value, readers: list[tuple[ir.Node, Layer]]) -> None:
    vectors = readers[0][1].vectors
    dtype = value.dtype or ir.DataType.FLOAT
    name = f"{value.name}{SUFFIX}"
    ones = np.ones(vectors.blocks * vectors.columns, dtype.numpy())
    factors = GraphEditor(graph).constant(f"{name}_factors", ones)
    product = ir.Node("", "Mul", [value, factors], name=name)
    output = product.outputs[0]
    output.name, output.dtype, output.shape = name, dtype, value.shape
    graph.append(product)
    for node, _ in readers:
        node.replace_input_with(0, output)


def remove_unused_factors(model: ir.Model) -> ir.Model:
    """Return the model without the inserted products whose factors are all 1."""
    changed = model.clone()
    for node in list(changed.graph):
        factors = constant(node.inputs[1]) if node.op_type == "Mul" else None
        if factors is None or not (node.name or "").endswith(SUFFIX) or (factors != 1).any():
            continue
        source = node.inputs[0]
        assert source is not None
        node.outputs[0].replace_all_uses_with(source)
        changed.graph.remove(node, safe=True)
    return changed
