"""The marks of factors: products with one constant per channel that equalisation inserts into a model."""

from __future__ import annotations

import onnx_ir as ir

_MARK = "xslim.factor"


def mark_factor(node: ir.Node) -> None:
    """Mark a product as inserted; copies of the model keep the mark, files do not."""
    node.meta[_MARK] = True


def is_factor(node: ir.Node | None) -> bool:
    """Whether equalisation inserted the node."""
    return node is not None and bool(node.meta.get(_MARK, False))


def products(model: ir.Model) -> dict[str, str]:
    """Return the product of every inserted factor, with the tensor that the factor scales."""
    return {
        node.outputs[0].name or "": node.inputs[0].name or ""
        for node in model.graph
        if is_factor(node) and node.inputs[0] is not None
    }
