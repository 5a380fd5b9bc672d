"""Rewrite constructs on which onnxruntime's graph optimiser fails, without changing the results.

Around integer kernels onnxruntime changes the layout of tensors and fuses operators, in some cases wrongly.
All cases here were found with version 1.32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import onnx_ir as ir

from xslim.graph.editing import GraphEditor
from xslim.graph.ops import (
    attribute,
    constant,
    is_constant,
    is_standard,
    opset,
    rank,
)

IMAGE_RANK = 4
SIGNED_GEMM_OPSET = 21
"""The first opset in which onnxruntime fuses a product of more than two dimensions and its bias into Gemm
with a quantiser in between whose zero point is unsigned, even if the data are signed."""


def make_loadable(model: ir.Model, *, unsigned: bool) -> None:
    """Rewrite what onnxruntime fails on, in place; `unsigned` tells how activations are stored."""
    editor = GraphEditor(model.graph)
    for node in list(model.graph):
        if _is_fragile(node):
            _fence(editor, node)
        elif is_standard(node, "Concat") and node.outputs[0].dtype == ir.DataType.FLOAT16:
            _join_in_single(editor, node)
    if not unsigned and opset(model) >= SIGNED_GEMM_OPSET:
        for node in list(model.graph):
            _widen_bias(editor, node)
    model.graph.sort()


def _is_fragile(node: ir.Node) -> bool:
    test = _FRAGILE.get(node.op_type) if is_standard(node, *_FRAGILE) else None
    return test is not None and rank(node.inputs[0]) == IMAGE_RANK and test(node)


def _names_axes(node: ir.Node) -> bool:
    return "axes" in node.attributes


def _cubic_or_names_axes(node: ir.Node) -> bool:
    return attribute(node, "mode") == "cubic" or _names_axes(node)


def _has_fourth_input(node: ir.Node) -> bool:
    return len(node.inputs) > 3 and node.inputs[3] is not None


def _is_dilated(node: ir.Node) -> bool:
    return any(step != 1 for step in attribute(node, "dilations") or ())


_FRAGILE: Mapping[str, Callable[[ir.Node], bool]] = {
    "AveragePool": _is_dilated,
    "CenterCropPad": _names_axes,
    "Pad": _has_fourth_input,
    "Resize": _cubic_or_names_axes,
}
"""Operators that onnxruntime must neither move to another layout nor convert to integers, each with its
condition: onnxruntime has no cubic Resize with channels last and no integer pool with dilations, and it
permutes axes that an operator does not have."""


def _fence(editor: GraphEditor, node: ir.Node) -> None:
    """Insert an operator before the node that copies its input and stops onnxruntime's layout changes."""
    source = node.inputs[0]
    assert source is not None
    [copy] = editor.node(
        "DepthToSpace",
        [source],
        [f"{node.name}_fenced"],
        name=f"{node.name}_fence",
        attributes={"blocksize": 1},
    )
    copy.type, copy.shape = source.type, source.shape
    node.replace_input_with(0, copy)


def _join_in_single(editor: GraphEditor, node: ir.Node) -> None:
    """Let a Concat of dequantised float16 data run in float32: the integer Concat takes no float16 scales."""
    result = node.outputs[0]
    between = [value.producer() if value is not None else None for value in node.inputs]
    if not all(maker is not None and is_standard(maker, "DequantizeLinear") for maker in between):
        return
    for position, value in enumerate(node.inputs):
        assert value is not None
        name = f"{node.name}_{position}"
        node.replace_input_with(position, _cast(editor, value, ir.DataType.FLOAT, name, f"{name}_Cast"))
    uses = [(use.node, use.idx) for use in result.uses()]
    # A new type object, because several values may share the old one.
    result.type = ir.TensorType(ir.DataType.FLOAT)
    half = _cast(editor, result, ir.DataType.FLOAT16, f"{result.name}_half", f"{result.name}_Cast")
    for reader, position in uses:
        reader.replace_input_with(position, half)
    editor.take_place(result, half, f"{result.name}_single")


def _cast(editor: GraphEditor, value: ir.Value, dtype: ir.DataType, output: str, name: str) -> ir.Value:
    [result] = editor.node("Cast", [value], [output], name=name, attributes={"to": dtype})
    result.type, result.shape = ir.TensorType(dtype), value.shape
    return result


def _widen_bias(editor: GraphEditor, node: ir.Node) -> None:
    """Add a dimension to the bias behind a large int8 product, so that onnxruntime does not fuse them."""
    if not is_standard(node, "Add"):
        return
    for position, value in enumerate(node.inputs):
        product = node.inputs[1 - position]
        array = constant(value)
        if value is None or product is None or array is None or array.ndim != 1 or not is_constant(value):
            continue
        if not _is_large_int8_product(product.producer()):
            continue
        if len(value.uses()) > 1:
            node.replace_input_with(position, editor.constant(f"{value.name}_row", array.reshape(1, -1)))
        else:
            # The constant keeps its name, by which refinement finds the bias.
            value.const_value = ir.Tensor(array.reshape(1, -1), name=value.name)
            value.shape = ir.Shape((1, array.size))


def _is_large_int8_product(node: ir.Node | None) -> bool:
    if node is None or not is_standard(node, "MatMul") or rank(node.outputs[0]) in (None, 0, 1, 2):
        return False
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    return source is not None and is_standard(source, "DequantizeLinear")
