"""Decide for each operator alone whether it can be int8: by target table, settings and ignore lists."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from xslim.config import PrecisionLevel
from xslim.graph.factors import is_factor
from xslim.graph.ops import is_constant
from xslim.graph.scheme import OperatorPlan
from xslim.quantization.protected import FLOAT_TYPES
from xslim.quantization.rules import OperatorSettings
from xslim.targets import Operator, Target

FLOAT_LEVELS = (PrecisionLevel.DYNAMIC, PrecisionLevel.HALF)
"""Precision levels that mean float inside a static run."""


@dataclass(frozen=True)
class Context:
    """The target, the settings and the protected values: what `classify` needs besides the node."""

    target: Target
    ignored: dict[ir.Node, str]
    settings: dict[ir.Node, OperatorSettings]
    masks: Collection[ir.Value]
    shapes: Collection[ir.Value]
    kept_float: Mapping[str, str]


def data_positions(node: ir.Node, operator: Operator) -> list[int]:
    """Positions of the inputs that carry floating-point data, constants included."""
    positions = range(len(node.inputs)) if operator.data_inputs is None else operator.data_inputs
    return [index for index in positions if index < len(node.inputs) and _is_float(node.inputs[index])]


def data_inputs(node: ir.Node, operator: Operator) -> list[ir.Value]:
    """Inputs that carry floating-point data, constants included."""
    values = [node.inputs[index] for index in data_positions(node, operator)]
    return [value for value in values if value is not None]


def moving_inputs(node: ir.Node, operator: Operator) -> list[ir.Value]:
    """Inputs that carry floating-point data and are not constant."""
    return [value for value in data_inputs(node, operator) if not is_constant(value)]


def is_weight(node: ir.Node, operator: Operator, value: ir.Value) -> bool:
    """Whether `value` is the constant weight of a compute operator."""
    position = operator.weight_input
    return (
        position is not None
        and position < len(node.inputs)
        and node.inputs[position] is value
        and is_constant(value)
    )


def max_level(node: ir.Node, operator: Operator) -> int:
    """Return the highest precision level at which this node is int8.

    A compute operator without constant weights is a product of two activations; it is float from level 2 on.
    """
    if operator.square_level is not None and len(node.inputs) == 2 and node.inputs[0] is node.inputs[1]:
        return operator.square_level
    if operator.role != "compute":
        return operator.max_level
    inputs = data_inputs(node, operator)
    return operator.max_level if any(is_weight(node, operator, value) for value in inputs) else 1


def classify(node: ir.Node, context: Context) -> OperatorPlan:
    """Decide whether the operator can be int8; for an operator that moves data, `trace` decides finally."""
    operator = context.target.entry(node)
    reason = (
        context.ignored.get(node)
        or _factor_refusal(node, operator)
        or _target_refusal(node, operator, context.target)
        or _level_refusal(node, operator, context.settings[node].precision_level)
        or _data_refusal(node, operator, context)
    )
    outputs = tuple(output.name for output in node.outputs if output.name)
    return OperatorPlan(node.name or "", node.op_type, reason is None, reason or "int8", outputs)


def _factor_refusal(node: ir.Node, operator: Operator) -> str | None:
    if is_factor(node):
        return "equalisation inserted it, and its operand must not be rounded before"
    if operator.role == "activation" and any(
        value is not None and is_factor(value.producer()) for value in node.inputs
    ):
        return "it reads the result of an inserted factor, which is not rounded"
    return None


def _target_refusal(node: ir.Node, operator: Operator, target: Target) -> str | None:
    if operator.moves_data:
        # An operator that the target refuses runs on another provider, which can move int8 data too.
        return None
    if refusal := target.refusal(node):
        return refusal
    if operator.role == "float":
        return f"{target.name} runs it in float"
    violations = (constraint.violation(node) for constraint in operator.int8_constraints)
    return next((f"for int8, {target.name} needs {violation}" for violation in violations if violation), None)


def _level_refusal(node: ir.Node, operator: Operator, level: int) -> str | None:
    if level in FLOAT_LEVELS:
        return f"custom_setting: precision level {level} is float in a static run"
    allowed = max_level(node, operator)
    return f"float above precision level {allowed}" if level > allowed else None


def _data_refusal(node: ir.Node, operator: Operator, context: Context) -> str | None:
    # An operator whose table entry lists no data inputs can still write an int8 output.
    inputs = data_inputs(node, operator) if operator.data_inputs != () else _float_inputs(node)
    moving = [value for value in inputs if not is_constant(value)]
    if not inputs or not all(_is_float(output) for output in node.outputs if output.name):
        return "it does not compute with float32 or float16 data"
    if not moving:
        return "all its inputs are constant"
    if any(value in context.masks for value in [*inputs, *node.outputs]):
        return "it carries infinity, or values of 1e30 and more that stand for it, as an attention mask does"
    if all(value in context.shapes for value in moving):
        return "it computes with shapes, not with data"
    if (kept := _kept_float(node, operator, context.kept_float)) is not None:
        return kept
    if any(_is_empty(value) for value in [*moving, *node.outputs]):
        return "it has an empty tensor"
    return None


def _kept_float(node: ir.Node, operator: Operator, kept: Mapping[str, str]) -> str | None:
    """Return why the node stays float if it reads or writes a tensor that refinement leaves float."""
    touched = [value.name or "" for value in moving_inputs(node, operator)]
    if not operator.float_output:
        touched += [value.name or "" for value in node.outputs]
    return next((kept[name] for name in touched if name in kept), None)


def _float_inputs(node: ir.Node) -> list[ir.Value]:
    return [value for value in node.inputs if value is not None and _is_float(value)]


def _is_float(value: ir.Value | None) -> bool:
    return value is not None and value.dtype in FLOAT_TYPES


def _is_empty(value: ir.Value) -> bool:
    return value.shape is not None and 0 in value.shape
