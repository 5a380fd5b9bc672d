"""Which operators can be int8 by themselves: the target's table, the precision level, the ignore lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import onnx_ir as ir
from onnx import defs

from xslim.graph.scheme import OperatorPlan
from xslim.targets import Operator, Target

FLOAT_TYPES = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE})

MASK_THRESHOLD = -1e4
"""Constants at or below this value mark attention masks: no 8-bit range can hold them beside real scores."""


@dataclass(frozen=True)
class Rules:
    """What the user asked for, as far as operators are concerned."""

    precision_level: int
    ignore_op_types: Sequence[str] = ()
    ignore_op_names: Sequence[str] = ()


def attribute(node: ir.Node, name: str) -> int | float | str | None:
    """Return an attribute's value, or the default that the operator's schema states."""
    given = node.attributes.get(name)
    if given is not None:
        value: int | float | str = given.value
        return value
    version = node.version or (node.graph.opset_imports.get(node.domain) if node.graph else None)
    try:
        schema = defs.get_schema(node.op_type, version or defs.onnx_opset_version(), node.domain)
    except defs.SchemaError:
        return None
    entry = schema.attributes.get(name)
    if entry is None or not entry.default_value.name:
        return None
    from onnx import helper

    default: int | float | str = helper.get_attribute_value(entry.default_value)
    return default


def weight_axis(node: ir.Node, operator: Operator) -> int | None:
    """Channel axis of the node's weight by the target's rules; None means per tensor."""
    for rule in operator.weight_axis:
        if all(attribute(node, key) == value for key, value in rule.when.items()):
            return rule.axis
    return None


def data_inputs(node: ir.Node, operator: Operator) -> list[ir.Value]:
    """Inputs that carry floating-point data, constants included."""
    positions = range(len(node.inputs)) if operator.data_inputs is None else operator.data_inputs
    values = [node.inputs[position] for position in positions if position < len(node.inputs)]
    return [value for value in values if value is not None and value.dtype in FLOAT_TYPES]


def is_constant(value: ir.Value) -> bool:
    """Whether the value is an initializer that no caller can override."""
    return value.is_initializer() and not value.is_graph_input()


def is_weight(node: ir.Node, operator: Operator, value: ir.Value) -> bool:
    """Whether `value` is the constant weight of a compute operator."""
    position = operator.weight_input
    return (
        position is not None
        and position < len(node.inputs)
        and node.inputs[position] is value
        and is_constant(value)
    )


def masked_values(graph: ir.Graph) -> frozenset[ir.Value]:
    """Values that hold an attention mask: large negative numbers that stand for minus infinity."""
    masked: set[ir.Value] = set()
    for node in graph:
        if any(value in masked or _is_mask_constant(value) for value in node.inputs if value is not None):
            if node.op_type in ("Softmax", "LogSoftmax"):
                continue
            masked.update(output for output in node.outputs if output.dtype in FLOAT_TYPES)
    return frozenset(masked)


def _is_mask_constant(value: ir.Value) -> bool:
    if not is_constant(value) or value.dtype not in FLOAT_TYPES or value.const_value is None:
        return False
    array = value.const_value.numpy()
    return bool(array.size) and array.size <= 1_000_000 and bool(np.min(array) <= MASK_THRESHOLD)


def classify(node: ir.Node, target: Target, rules: Rules, masked: frozenset[ir.Value]) -> OperatorPlan:
    """Decide whether the operator alone could be int8; passive operators still depend on their neighbours."""
    reason = _refusal(node, target.operator(node.domain, node.op_type), rules, masked)
    return OperatorPlan(node.name or "", node.op_type, int8=reason is None, reason=reason or "int8")


def _refusal(node: ir.Node, operator: Operator, rules: Rules, masked: frozenset[ir.Value]) -> str | None:
    if node.op_type in rules.ignore_op_types:
        return "listed in ignore_op_types"
    if any(fnmatchcase(node.name or "", pattern) for pattern in rules.ignore_op_names):
        return "listed in ignore_op_names"
    if operator.role == "float":
        return "the target runs it in float"
    level = max_level(node, operator)
    if rules.precision_level > level:
        return f"float above precision level {level}"
    inputs = data_inputs(node, operator)
    if not inputs or not all(output.dtype in FLOAT_TYPES for output in node.outputs):
        return "it does not compute with floating-point data"
    if all(is_constant(value) for value in inputs):
        return "all its inputs are constant"
    if any(value in masked for value in [*inputs, *node.outputs]):
        return "it carries an attention mask"
    for key, required in operator.requires.items():
        found = attribute(node, key)
        if found != required:
            return f"the target needs {key} = {required}, here it is {found}"
    return None


def max_level(node: ir.Node, operator: Operator) -> int:
    """Highest precision level at which this node is int8.

    A compute operator without constant weights is a product of two activations, and so is float at level 2.
    """
    if operator.role != "compute":
        return operator.max_level
    inputs = data_inputs(node, operator)
    return operator.max_level if any(is_weight(node, operator, value) for value in inputs) else 1
