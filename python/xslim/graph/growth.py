"""How large the constants and shapes of a model become where it joins them again and again."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from xslim.errors import ModelError
from xslim.graph.limits import FOLD_MB, limit
from xslim.graph.ops import is_standard, rank

# Shape inference keeps every number of a shape as a message of its own, again for every tensor.
_BYTES_OF_A_SIZE = 64
# Dimensions of a tensor whose rank is not known, and what a function may be called with.
_USUAL_RANK = 4
# A model may write its constants out this often.
_REPEATS = 4

_Sizes = dict[ir.Value, int]


def check_growth(model: ir.Model, where: str) -> None:
    """Refuse constants and shapes that grow beyond any use, before a library computes them.

    Forty Concats of a tensor with itself are a small file; whatever folds constants, or follows the values of
    shapes, writes a million million numbers for it.

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
    """Bytes of what a node makes of constants and shapes; None where it reads anything else."""
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
