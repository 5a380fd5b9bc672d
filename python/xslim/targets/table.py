"""Operator tables as data: the operators that a target runs, their roles in int8, and constraints."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from xslim.graph.ops import attribute, scalar
from xslim.targets.constraints import Constraint, Scalar


@dataclass(frozen=True)
class AxisRule:
    """Channel axis of a weight, valid if the node's attributes have the values of `when`."""

    axis: int | None
    when: Mapping[str, Scalar]


@dataclass(frozen=True)
class Operator:
    """How a target treats one operator.

    Attributes
    ----------
    role : str
        ``compute``, ``elementwise``, ``activation``, ``concat``, ``passive`` or ``float``.
    max_level : int
        Highest precision level at which the operator is int8.
    square_level : int or None
        The same for a product of a tensor with itself, if it differs.
    opset : int or None
        Version of the operator's definition that the target documents.
    types : frozenset of str
        Element types that the target supports, in lower case (``float16``); empty means any.
    constraints : tuple of Constraint
        Conditions under which the target runs the operator, in any type.
    int8_constraints : tuple of Constraint
        Further conditions under which the operator can be int8.
    half_constraints : tuple of Constraint
        Further conditions under which the operator can be float16.
    data_inputs : tuple of int, or None
        Inputs that carry data and can be int8; the others (shapes, axes, indices) are never quantised.
        None means all. If the tuple is empty, only the output is int8.
    weight_input : int or None
        The input that is a weight if it is constant.
    weight_axis : tuple of AxisRule
        Channel axis of the weight, given by the first rule that fits the node's attributes.
    weight_rank : int or None
        The number of dimensions that a weight must have to be quantised per channel; None means any above 1.
    bias_input : int or None
        The input that is a bias vector per output channel.
    needs_integer_bias : bool
        Whether the target computes the whole operator in float if its bias is float.
    channel_axis : int or None
        Axis of input 0 over which the operator sums.
    fuses_activation : bool
        Whether the target applies a following clamp before it quantises the output.
    float_output : bool
        Whether the operator can write float, without a quantiser behind it.
    fuses_bias : bool
        Whether the target adds a following constant vector before it quantises the output.
    adds_bias : bool
        Whether the operator is the sum that other operators with `fuses_bias` absorb.
    bounds : pair of float, or None
        A clamp that a saturating quantiser can replace, such as ``(0, inf)`` for Relu.
    bounds_inputs : bool
        Whether the clamp's bounds are the node's constant inputs 1 and 2.
    output_range : pair of float, or None
        Range of the output, if it is known without calibration.
    carries_mask : bool
        Whether the output holds an attention mask if an input does.
    passes_quantizers : bool
        Whether onnxruntime moves QuantizeLinear and DequantizeLinear across the operator.
    measures_shape : bool
        Whether the output depends only on the shape of the input.
    fill_input : int or None
        The input with the number that an operator adds to the data that it moves, unless its mode is another
        than ``constant``; 0 if the input is absent.
    pools : bool
        Whether each number of the output is the largest of several numbers of the input.
    absent : bool
        Whether the target does not run the operator; the entry is only for its other properties.
    dynamic : str or None
        How dynamic quantisation writes the operator: ``matmul`` (DynamicQuantizeMatMul where the activation
        has one reader, else ``integer``), ``integer`` (DynamicQuantizeLinear and MatMulInteger), ``lstm``
        (DynamicQuantizeLSTM), or ``weights`` (int8 weights behind DequantizeLinear, float arithmetic).
    dynamic_inputs : tuple of int
        The inputs that are weights in dynamic quantisation, if they differ from `weight_input`.
    """

    role: str
    max_level: int = -1
    square_level: int | None = None
    opset: int | None = None
    types: frozenset[str] = frozenset()
    constraints: tuple[Constraint, ...] = ()
    int8_constraints: tuple[Constraint, ...] = ()
    half_constraints: tuple[Constraint, ...] = ()
    data_inputs: tuple[int, ...] | None = None
    weight_input: int | None = None
    weight_axis: tuple[AxisRule, ...] = ()
    weight_rank: int | None = None
    bias_input: int | None = None
    needs_integer_bias: bool = False
    channel_axis: int | None = None
    fuses_activation: bool = False
    float_output: bool = False
    fuses_bias: bool = False
    adds_bias: bool = False
    bounds: tuple[float, float] | None = None
    bounds_inputs: bool = False
    output_range: tuple[float, float] | None = None
    carries_mask: bool = False
    passes_quantizers: bool = False
    measures_shape: bool = False
    fill_input: int | None = None
    pools: bool = False
    absent: bool = False
    dynamic: str | None = None
    dynamic_inputs: tuple[int, ...] = ()

    @property
    def moves_data(self) -> bool:
        """Whether the output holds only values of the inputs."""
        return self.role in ("passive", "concat")

    def clamp(self, node: ir.Node) -> tuple[float, float] | None:
        """Return the interval to which this node clips its input, or None if there is none or it is unknown.

        If the lower bound is above the upper one, all values become the upper one.
        """
        if self.bounds is not None or not self.bounds_inputs:
            return self.bounds
        low, high = _number(node, 1, -math.inf), _number(node, 2, math.inf)
        return None if low is None or high is None else (min(low, high), high)

    def fill(self, node: ir.Node) -> float | None:
        """Return the number that this node adds to the data that it moves, or None if it is unknown.

        Most operators add nothing; then it is 0.
        """
        if self.fill_input is None or attribute(node, "mode") not in (None, "constant"):
            return 0.0
        return _number(node, self.fill_input, 0.0)

    @property
    def dynamic_weights(self) -> tuple[int, ...]:
        """The inputs that are weights of dynamic quantisation."""
        return self.dynamic_inputs or (() if self.weight_input is None else (self.weight_input,))

    def axis_of_weight(self, node: ir.Node) -> int | None:
        """Return the channel axis of this node's weight, counted from 0; None means per tensor."""
        position = self.weight_input
        weight = node.inputs[position] if position is not None and position < len(node.inputs) else None
        if weight is None or weight.shape is None or len(weight.shape) < 2:
            return None
        rank = len(weight.shape)
        if self.weight_rank not in (None, rank):
            return None
        for rule in self.weight_axis:
            if all(attribute(node, key) == value for key, value in rule.when.items()):
                return None if rule.axis is None else rule.axis % rank
        return None


@dataclass(frozen=True)
class Chip:
    """What is known about one chip of a target.

    Attributes
    ----------
    ai_cores : int
        Number of cores that run int8 products.
    tightly_coupled_kb : int or None
        Size of the tightly coupled memory in KiB; None if it is not known.
    """

    ai_cores: int
    tightly_coupled_kb: int | None = None


@dataclass(frozen=True)
class Target:
    """A named operator table.

    Attributes
    ----------
    name : str
        Name of the target in ``--target`` and in configurations.
    provider : str
        The execution provider that the table describes.
    operators : mapping of str to Operator
        The entries by operator type; types of other domains than the standard have the domain in front.
    unsigned : bool
        Whether activations are stored as uint8 and not as int8.
    takes_unlisted : bool
        Whether the target runs operators that the table does not list, in float.
    float16_epilogue : bool
        Whether the provider scales int8 convolutions and products in float16.
    raises_opset_for : frozenset of str
        Fused operators for which the opset of a model is raised.
    chip : Chip or None
        The chip, if the table describes one.
    """

    name: str
    provider: str
    operators: Mapping[str, Operator] = field(repr=False)
    unsigned: bool = False
    takes_unlisted: bool = False
    float16_epilogue: bool = False
    raises_opset_for: frozenset[str] = frozenset()
    chip: Chip | None = None

    def find(self, node: ir.Node) -> Operator | None:
        """Return the table's entry for a node's operator, or None."""
        key = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"
        return self.operators.get(key)

    def entry(self, node: ir.Node) -> Operator:
        """Return the table's entry for a node's operator; operators that are not listed are float."""
        return self.find(node) or _UNLISTED

    def refusal(self, node: ir.Node) -> str | None:
        """Return why the target does not run a node, not even in float, or None if it does."""
        operator = self.find(node)
        if operator is None or operator.absent:
            return None if self.takes_unlisted else f"{self.name} has no {node.op_type}"
        for constraint in operator.constraints:
            if violation := constraint.violation(node):
                return f"{self.name} needs {violation}"
        dtype = node.inputs[0].dtype if node.inputs and node.inputs[0] is not None else None
        if operator.types and dtype is not None and dtype.name.lower() not in operator.types:
            return f"{self.name} has no {node.op_type} for {dtype.name.lower()}"
        return None

    def half_refusal(self, node: ir.Node) -> str | None:
        """Return why the target does not run a float32 node in float16, or None if it does."""
        operator = self.find(node)
        if operator is not None and operator.types and "float16" not in operator.types:
            return f"{self.name} has no {node.op_type} for float16"
        for constraint in () if operator is None else operator.half_constraints:
            if violation := constraint.violation(node):
                return f"{self.name} needs {violation} for float16"
        return self.refusal(node)


_UNLISTED = Operator(role="float")


def _number(node: ir.Node, position: int, default: float) -> float | None:
    value = node.inputs[position] if position < len(node.inputs) else None
    return default if value is None else scalar(value)
