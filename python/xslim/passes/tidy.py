"""Bring names, attributes and versions into the canonical form that later steps expect."""

from __future__ import annotations

import logging

import onnx_ir as ir
from onnx_ir.passes import common
from onnx_ir.passes.common import naming

from xslim.graph.editing import GraphEditor
from xslim.graph.ops import constant, is_standard, rank, static_shape
from xslim.graph.reading import INITIALIZERS_OFF_INPUTS

logger = logging.getLogger(__name__)

_WITH_KERNEL = ("Conv", "ConvTranspose")
# Number of leading elements that must be equal before two weights are compared completely.
_PREFIX = 64
_COMMUTATIVE = ("Add", "Mul")
_ARITHMETIC = (*_COMMUTATIVE, "Sub", "Div", "Pow")


class _NamesByOperator(naming.SimpleNameGenerator):
    """Names unnamed nodes after their operator type."""

    def generate_node_name(self, node: ir.Node) -> str:
        return node.name or node.op_type


def unlist_initializers(model: ir.Model) -> bool:
    """Remove initializers from the list of inputs, in which IR version 3 requires them."""
    changed: bool = common.RemoveInitializersFromInputsPass()(model).modified
    if changed:
        model.ir_version = max(model.ir_version or 0, INITIALIZERS_OFF_INPUTS)
        logger.info("initializers were listed as inputs: they are constants now")
    return changed


def unique_names(model: ir.Model) -> bool:
    """Give every node and value a unique name, also across nested graphs.

    If a nested graph belongs to an operator of another domain than the standard's, its inputs and outputs
    keep their names, because the operator may refer to them by name, as BeamSearch does.
    """
    prescribed = [
        (value, value.name)
        for node in model.graph.all_nodes()
        if node.domain
        for graph in _bodies(node)
        for value in (*graph.inputs, *graph.outputs)
        if value.name
    ]
    modified = bool(common.NameFixPass(_NamesByOperator())(model).modified)
    for value, name in prescribed:
        if value.name != name:
            value.name = name
    return modified


def _bodies(node: ir.Node) -> list[ir.Graph]:
    kinds = {ir.AttributeType.GRAPH: lambda value: [value], ir.AttributeType.GRAPHS: list}
    return [
        graph
        for item in node.attributes.values()
        if item.type in kinds and not item.is_ref()
        for graph in kinds[item.type](item.value)
    ]


def share_initializers(model: ir.Model) -> int:
    """Keep one of several initializers of a graph with equal contents; return how many were removed.

    Weights are compared completely only if type, shape and first elements agree.
    """
    removed = 0
    for graph in model.graphs():
        seen: dict[tuple[object, ...], list[ir.Value]] = {}
        for value in list(graph.initializers.values()):
            tensor = value.const_value
            if tensor is None or value.is_graph_output() or tensor.dtype == ir.DataType.STRING:
                continue
            first = tensor.numpy().reshape(-1)[:_PREFIX].tobytes()
            alike = seen.setdefault((tensor.dtype, tuple(tensor.shape.numpy()), first), [])
            twin = next((other for other in alike if _same_contents(other, value)), None)
            if twin is None:
                alike.append(value)
                continue
            ir.convenience.replace_all_uses_with(value, twin)
            graph.initializers.pop(value.name or "")
            removed += 1
    return removed


def _same_contents(first: ir.Value, second: ir.Value) -> bool:
    assert first.const_value is not None
    assert second.const_value is not None
    return first.const_value.numpy().tobytes() == second.const_value.numpy().tobytes()


def kernel_shapes(model: ir.Model) -> int:
    """Set missing ``kernel_shape`` attributes of convolutions with a known weight shape; return how many."""
    added = 0
    for node in model.graph.all_nodes():
        if is_standard(node, *_WITH_KERNEL) and "kernel_shape" not in node.attributes:
            weight = static_shape(node.inputs[1])
            if weight is not None:
                node.attributes.add(ir.AttrInt64s("kernel_shape", weight[2:]))
                added += 1
    return added


def fit_ir_version(model: ir.Model) -> None:
    """Raise the IR version to the lowest that opsets, functions and initializers outside the inputs need."""
    from onnx import helper

    imports = [helper.make_opsetid(domain, version) for domain, version in model.opset_imports.items()]
    needed = helper.find_min_ir_version_for(imports, ignore_unknown=True)
    if model.functions:
        needed = max(needed, 8)
    model.ir_version = max(model.ir_version or 0, needed, INITIALIZERS_OFF_INPUTS)


def order_operands(model: ir.Model) -> int:
    """Put the constant operand of Add and Mul last, and make constants of one element scalars.

    Patterns then need one order of operands only. A constant of one element stays an array if it determines
    the rank of the result. Returns the number of changed nodes.
    """
    changed = 0
    for graph in model.graphs():
        editor = GraphEditor(graph)
        for node in list(graph):
            if is_standard(node, *_COMMUTATIVE) and constant(node.inputs[0]) is not None:
                _swap_operands(node)
                changed += 1
            if is_standard(node, *_ARITHMETIC):
                changed += _make_scalar(editor, node)
    return changed


def _swap_operands(node: ir.Node) -> None:
    first, second = node.inputs
    node.replace_input_with(0, second)
    node.replace_input_with(1, first)


def _make_scalar(editor: GraphEditor, node: ir.Node) -> bool:
    data, value = node.inputs
    array = constant(value)
    ndim = rank(data)
    if array is None or value is None or ndim is None or array.size != 1 or not 0 < array.ndim <= ndim:
        return False
    number = editor.constant(f"{value.name}.scalar", array.reshape(()))
    node.replace_input_with(1, number)
    return True
