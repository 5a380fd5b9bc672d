"""Find the QuantizeLinear/DequantizeLinear pairs of activations in an exported model."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from xslim.graph.ops import is_standard

Pair = tuple[ir.Node, ir.Node]


def quantizer_pairs(graph: ir.Graph) -> Iterator[tuple[str, Pair]]:
    """Yield the name of every quantised tensor, with its QuantizeLinear and DequantizeLinear."""
    for quantize in graph:
        source = quantize.inputs[0] if is_standard(quantize, "QuantizeLinear") else None
        if source is None:
            continue
        for restore in (use.node for use in quantize.outputs[0].uses()):
            if is_standard(restore, "DequantizeLinear"):
                restored = restore.outputs[0]
                # If a model output is quantised, the dequantised tensor has its name.
                named = restored if restored.is_graph_output() else source
                yield named.name or "", (quantize, restore)
