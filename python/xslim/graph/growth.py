"""Estimate how large constants and shapes become if a model concatenates or expands them repeatedly."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from xslim.errors import ModelError
from xslim.graph.limits import FOLD_MB, limit
from xslim.graph.ops import is_standard, rank

# Memory for a size in a shape: shape inference stores each as a message, separately for every tensor.
_BYTES_OF_A_SIZE = 64
# Number of dimensions assumed for a tensor of unknown rank and for an input of a function.
_USUAL_RANK = 4
# A model may write its constants out this often.
_REPEATS = 4

_Sizes = dict[ir.Value, int]


def check_growth(model: ir.Model, where: str) -> None:
    """Refuse constants and shapes that become unreasonably large, before a library computes them.

    A model of forty Concats, each of a tensor with itself, is a small file; constant folding and the
    propagation of shape values would compute 2^40 numbers for it.

    Raises
    ------
    ModelError
    """
    sizes: _Sizes = {}
    for value in _initializers(model):
        if value.const_value is not None and not value.is_graph_input():
            sizes[value] = _weight(value.const_value)
    most = (limit(FOLD_MB) << 20) + _REPEATS * sum(sizes.values())
    for function in model.functions.values():
        sizes.update((value, _BYTES_OF_A_SIZE) for value in function.inputs)
    nodes = [model.graph.all_nodes(), *(function.all_nodes() for function in model.functions.values())]
    made = 0
    for node in (node for group in nodes for node in group):
        size = _result(node, sizes)
        if size is None:
            continue
        sizes.update((value, size) for value in node.outputs)
        made += size if is_standard(node, "Concat") else 0
        if made > most:
            raise ModelError(
                f"constants and shapes grow beyond {most >> 20} MB at node {node.name or node.op_type!r}",
                where=where,
                hint=f"set {FOLD_MB} to allow more",
            )


def _initializers(model: ir.Model) -> Iterator[ir.Value]:
    for graph in model.graphs():
        yield from graph.initializers.values()


def _weight(tensor: ir.TensorProtocol) -> int:
    whole = tensor.dtype in (ir.DataType.INT32, ir.DataType.INT64) and len(tensor.shape) < 2
    return tensor.size * _BYTES_OF_A_SIZE if whole else int(tensor.nbytes)


def _result(node: ir.Node, sizes: _Sizes) -> int | None:
    """Return the bytes of a node's result if the node reads only constants and shapes, else None."""
    if is_standard(node, "Shape"):
        dims = rank(node.inputs[0])
        return _BYTES_OF_A_SIZE * (_USUAL_RANK if dims is None else dims)
    if is_standard(node, "Constant"):
        tensor = node.attributes.get_tensor("value") if "value" in node.attributes else None
        return _BYTES_OF_A_SIZE if tensor is None else _weight(tensor)
    given = [value for value in node.inputs if value is not None]
    read = [sizes[value] for value in given if value in sizes]
    if not read or len(read) < len(given):
        return None
    return sum(read) if is_standard(node, "Concat") else max(read)
