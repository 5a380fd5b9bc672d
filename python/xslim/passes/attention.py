"""Split one product that computes queries, keys and values together into one product for each of them."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.editing import GraphEditor
from xslim.graph.ops import constant, integers, is_standard, sole_consumer

logger = logging.getLogger(__name__)


class _Unlike(Exception):  # noqa: N818 - not an error: this product stays as it is
    """The nodes behind a product do not match the pattern, so the product is not split."""


@dataclass(frozen=True)
class _Packed:
    """A product whose columns hold several parts side by side.

    Attributes
    ----------
    product, last : Node
        The MatMul, and the Add behind it (or the MatMul itself).
    parts : int
        Number of parts in the columns.
    shape : tuple of int
        Target shape for the Reshape of one part; empty if the columns of a part stay one axis.
    perm : tuple of int
        Permutation of the reshaped part that gives the result of its Gather.
    takers : tuple of (Node, int)
        Each Gather with the index of its part.
    """

    product: ir.Node
    last: ir.Node
    parts: int
    shape: tuple[int, ...]
    perm: tuple[int, ...]
    takers: tuple[tuple[ir.Node, int], ...]


def split_packed_products(model: ir.Model) -> int:
    """Split every product whose result is only reshaped and transposed, and then gathered part by part.

    Pattern: ``MatMul(x, W) [+ b]`` -> Reshape (columns to parts and the rest) -> Transpose, Unsqueeze,
    Squeeze -> Gather of single parts. Splitting has three advantages: every part gets a scale of its own, no
    Gather copies data, and the Transpose of a part can cancel a Transpose behind it.
    Must not fire if weight or bias are computed or shared, if a tensor in between has other readers, if the
    Reshape does more than split the columns, or if a Gather takes more than one part.

    Returns
    -------
    int
        Number of products that were split.
    """
    made = 0
    for graph in model.graphs():
        editor = GraphEditor(graph)
        for node in list(graph):
            try:
                packed = _packed(node)
            except _Unlike as reason:
                logger.debug("%s stays packed: %s", node.name, reason)
                continue
            if packed is not None:
                _take_apart(editor, packed)
                made += 1
    if made:
        logger.info("packed products taken apart: %d", made)
    return made


def _packed(product: ir.Node) -> _Packed | None:
    if not is_standard(product, "MatMul"):
        return None
    weight = constant(product.inputs[1])
    if weight is None or weight.ndim != 2:
        raise _Unlike("the weight is no constant matrix")
    if len(list(product.inputs[1].uses())) > 1:  # type: ignore[union-attr]
        raise _Unlike("the weight has other readers")
    last = _bias_sum(product, weight.shape[1])
    reshape = _next(last)
    if not is_standard(reshape, "Reshape"):
        raise _Unlike("no Reshape follows")
    shape, axis = _split_columns(reshape)
    takers, perm = _follow(reshape, axis, len(shape))
    return _Packed(product, last, shape[axis], shape[:axis] + shape[axis + 1 :], perm, takers)


def _bias_sum(product: ir.Node, columns: int) -> ir.Node:
    following = _next(product)
    if not is_standard(following, "Add"):
        return product
    bias = constant(following.inputs[1])
    if bias is None or bias.shape != (columns,):
        raise _Unlike("the bias is no constant vector")
    return following


def _next(node: ir.Node) -> ir.Node:
    following = sole_consumer(node.outputs[0])
    if following is None:
        raise _Unlike(f"{node.op_type} has several readers")
    return following


def _split_columns(reshape: ir.Node) -> tuple[tuple[int, ...], int]:
    """Return the target shape and the axis of the parts, the first axis that is split off the columns."""
    data, result = reshape.inputs[0], reshape.outputs[0]
    target = integers(reshape.inputs[1])
    if target is None or data is None or data.shape is None or result.shape is None:
        raise _Unlike("a shape is computed or unknown")
    axis = len(data.shape) - 1
    if len(target) <= axis + 1 or list(result.shape[:axis]) != list(data.shape[:axis]):
        raise _Unlike("the Reshape does more than split the columns")
    if not isinstance(result.shape[axis], int):
        raise _Unlike("the number of parts is unknown")
    shape = list(target)
    shape[axis] = int(result.shape[axis])  # type: ignore[arg-type]
    return tuple(shape), axis


def _follow(
    reshape: ir.Node, axis: int, ndim: int
) -> tuple[tuple[tuple[ir.Node, int], ...], tuple[int, ...]]:
    """Follow the parts to their Gathers.

    Axes are tracked by labels: the label of the parts' axis is `axis`, that of an added axis is -1.
    """
    labels = list(range(ndim))
    node = reshape
    while True:
        readers = [use.node for use in node.outputs[0].uses()]
        if node.outputs[0].is_graph_output() or not readers:
            raise _Unlike("a tensor in between is an output")
        if all(is_standard(reader, "Gather") for reader in readers):
            break
        node = _next(node)
        labels = _moved(node, labels)
    gathered = labels.index(axis)
    takers = tuple((reader, _part(reader, gathered, len(labels))) for reader in readers)
    rest = [label for label in labels if label != axis]
    if -1 in rest:
        raise _Unlike("an added axis stays")
    return takers, tuple(label - (label > axis) for label in rest)


def _moved(node: ir.Node, labels: list[int]) -> list[int]:
    if is_standard(node, "Transpose") and "perm" in node.attributes:
        return [labels[axis] for axis in node.attributes.get_ints("perm") or ()]
    axes = (
        integers(node.inputs[1])
        if is_standard(node, "Squeeze", "Unsqueeze") and len(node.inputs) > 1
        else None
    )
    if axes is None:
        raise _Unlike(f"{node.op_type} takes part")
    if node.op_type == "Squeeze":
        gone = {axis % len(labels) for axis in axes}
        if any(labels[axis] != -1 for axis in gone):
            raise _Unlike("an axis of the parts is squeezed out")
        return [label for axis, label in enumerate(labels) if axis not in gone]
    total = len(labels) + len(axes)
    added = {axis % total for axis in axes}
    remaining = iter(labels)
    return [-1 if axis in added else next(remaining) for axis in range(total)]


def _part(gather: ir.Node, axis: int, ndim: int) -> int:
    index = constant(gather.inputs[1])
    if index is None or index.ndim != 0 or gather.attributes.get_int("axis", 0) % ndim != axis:
        raise _Unlike("not single parts are gathered")
    return int(index)


def _take_apart(editor: GraphEditor, packed: _Packed) -> None:
    weight = constant(packed.product.inputs[1])
    bias = None if packed.last is packed.product else constant(packed.last.inputs[1])
    assert weight is not None
    width = weight.shape[1] // packed.parts
    for gather, part in packed.takers:
        first = part % packed.parts * width
        columns = slice(first, first + width)
        value = _chain(editor, gather, packed, weight[:, columns], None if bias is None else bias[columns])
        old = gather.outputs[0]
        value.name, value.type, value.shape = old.name, old.type, old.shape
        ir.convenience.replace_all_uses_with(old, value, replace_graph_outputs=True)
        editor.graph.remove(gather, safe=True)


def _chain(
    editor: GraphEditor,
    gather: ir.Node,
    packed: _Packed,
    weight: NDArray[np.generic],
    bias: NDArray[np.generic] | None,
) -> ir.Value:
    """Insert MatMul, Add, Reshape and Transpose of one part before its Gather, and return the result."""
    name = gather.outputs[0].name

    def parameter(array: NDArray[np.generic], what: str) -> ir.Value:
        return editor.constant(f"{name}.{what}", array)

    def append(op_type: str, *inputs: ir.Value | None, **attributes: object) -> ir.Value:
        node = ir.node(op_type, inputs, attributes, name=f"{packed.product.name}.{name}.{op_type}")  # type: ignore[arg-type]
        editor.graph.insert_before(gather, node)
        node.outputs[0].name = editor.fresh(f"{name}.{op_type}")
        node.outputs[0].type = gather.outputs[0].type
        return node.outputs[0]

    columns = packed.last.outputs[0].shape
    flat = None if columns is None else ir.Shape([*columns[:-1], weight.shape[1]])
    value = append("MatMul", packed.product.inputs[0], parameter(weight, "weight"))
    value.shape = flat
    if bias is not None:
        value = append("Add", value, parameter(bias, "bias"))
        value.shape = flat
    if flat is None or len(packed.shape) != len(flat):
        value = append("Reshape", value, parameter(np.array(packed.shape, np.int64), "shape"))
        value.shape = _reshaped(packed, gather)
    if list(packed.perm) != list(range(len(packed.perm))):
        value = append("Transpose", value, perm=packed.perm)
    return value


def _reshaped(packed: _Packed, gather: ir.Node) -> ir.Shape | None:
    """Return the shape before the transposition, computed from the shape after it."""
    after = gather.outputs[0].shape
    return None if after is None else ir.Shape([after[axis] for axis in np.argsort(packed.perm)])
