"""QuantizeLinear/DequantizeLinear patterns that a target cannot turn into integer operators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.ops import constant, is_constant, is_fixed, is_standard, sole_consumer
from xslim.targets import Operator, Target

FLOAT_INPUT = "float-input"
"""The pattern of operators that read float; the others are those of operators that read int8."""


@dataclass(frozen=True)
class PatternMatch:
    """One place where Q/DQ nodes do not become integer arithmetic.

    Attributes
    ----------
    kind : str
        Name of the pattern, as in `PATTERNS`.
    node : str
        The operator.
    op_type : str
        Its type.
    detail : str
        What exactly was found.
    """

    kind: str
    node: str
    op_type: str
    detail: str


@dataclass(frozen=True)
class Site:
    """An operator with the quantisers around it."""

    node: ir.Node
    operator: Operator
    target: Target
    unfolded: frozenset[ir.Value]

    @cached_property
    def activations(self) -> list[ir.Node]:
        """DequantizeLinear nodes of the inputs that are not constant; empty unless all of them have one."""
        values = [value for value in self._data() if not is_fixed(value) and value not in self.unfolded]
        nodes = [self._before(value) for value in values]
        found = [node for node in nodes if node is not None and is_standard(node, "DequantizeLinear")]
        return found if len(found) == len(values) else []

    def _before(self, value: ir.Value) -> ir.Node | None:
        """Return the node that computes a value, skipping nodes across which DequantizeLinear is moved."""
        node = value.producer()
        while node is not None and self.target.entry(node).passes_quantizers and node.inputs[0] is not None:
            node = node.inputs[0].producer()
        return node

    def _passes(self, node: ir.Node, value: ir.Value) -> bool:
        return self.target.entry(node).passes_quantizers and node.inputs[0] is value

    def _data(self) -> list[ir.Value]:
        positions = self.operator.data_inputs
        chosen = range(len(self.node.inputs)) if positions is None else positions
        values = [self.node.inputs[index] for index in chosen if index < len(self.node.inputs)]
        return [value for value in values if value is not None]

    @cached_property
    def last(self) -> ir.Node:
        """The node that the quantiser reads: the operator, a bias sum behind it, or a clamp behind both."""
        last = self.node
        following = sole_consumer(last.outputs[0])
        if following is not None and self.operator.fuses_bias and self.target.entry(following).adds_bias:
            other = [value for value in following.inputs if value is not last.outputs[0]]
            last = following if other and other[0] is not None and is_fixed(other[0]) else last
        following = sole_consumer(last.outputs[0])
        if following is not None and self.operator.fuses_activation:
            last = following if self.target.entry(following).clamp(following) else last
        return last

    @cached_property
    def quantizer(self) -> ir.Node | None:
        """The QuantizeLinear that alone reads the result, skipping nodes across which it is moved."""
        value = self.last.outputs[0]
        following = sole_consumer(value)
        while following is not None and self._passes(following, value):
            value = following.outputs[0]
            following = sole_consumer(value)
        return following if following is not None and is_standard(following, "QuantizeLinear") else None

    def is_made_in_int8(self, dequantizer: ir.Node) -> bool:
        """Whether an int8 operator computes the activation that a DequantizeLinear reads."""
        quantizer = dequantizer.inputs[0].producer() if dequantizer.inputs[0] is not None else None
        value = quantizer.inputs[0] if quantizer is not None else None
        maker = self._before(value) if value is not None else None
        if maker is None or is_standard(maker, "DequantizeLinear"):
            return maker is not None
        return self.target.entry(maker).role != "float"

    def is_read_in_int8(self, quantizer: ir.Node) -> bool:
        """Whether an int8 operator reads the output of a QuantizeLinear."""
        readers = [use.node for pair in quantizer.outputs[0].uses() for use in pair.node.outputs[0].uses()]
        return any(self.target.entry(reader).role != "float" for reader in readers)

    def weight(self) -> ir.Value | None:
        """The input that is a weight when it is constant."""
        return _input(self.node, self.operator.weight_input)

    def weight_quantizer(self) -> ir.Node | None:
        """The DequantizeLinear of a constant weight."""
        weight = self.weight()
        node = weight.producer() if weight is not None and is_fixed(weight) else None
        return node if node is not None and is_standard(node, "DequantizeLinear") else None


def sites_of(graph: ir.Graph, target: Target) -> Iterator[Site]:
    """Yield every operator of the main graph with its quantisers."""
    unfolded = _unfolded(graph)
    return (Site(node, target.entry(node), target, unfolded) for node in graph)


def _unfolded(graph: ir.Graph) -> frozenset[ir.Value]:
    """Return the values that are computed from constants alone but are not folded into constants."""
    found: set[ir.Value] = set()
    for node in graph:
        sources = [value for value in node.inputs if value is not None]
        if sources and all(is_fixed(value) or value in found for value in sources):
            found.update(value for value in node.outputs if not is_fixed(value))
    return frozenset(found)


def find_patterns(graph: ir.Graph, target: Target) -> list[PatternMatch]:
    """Return every pattern of a quantised model that will not fuse, in graph order.

    In a model without QuantizeLinear, int8 weights beside float inputs are intended and not reported.
    """
    static = any(is_standard(node, "QuantizeLinear") for node in graph)
    of_float_readers = [FLOAT_INPUT] if static else []
    of_int8_readers = [kind for kind in PATTERNS if kind != FLOAT_INPUT]
    return [
        PatternMatch(kind, site.node.name or "", site.node.op_type, detail)
        for site in sites_of(graph, target)
        if not is_standard(site.node, "QuantizeLinear", "DequantizeLinear")
        for kind in (of_int8_readers if site.activations else of_float_readers)
        for detail in PATTERNS[kind][1](site)
    ]


def _no_output_quantizer(site: Site) -> Iterator[str]:
    if site.operator.role == "compute" and not site.operator.float_output and site.quantizer is None:
        yield "its result is not quantised, so it is computed in float"


def _unequal_types(site: Site) -> Iterator[str]:
    if site.quantizer is None or site.operator.role == "float":
        return
    types = {_type(node) for node in [*site.activations, site.quantizer]} - {None}
    if len(types) > 1:
        yield f"quantised as {' and '.join(sorted(map(str, types)))}"


def _symmetric_clamp(site: Site) -> Iterator[str]:
    clamp = site.target.entry(site.last).clamp(site.last)
    if clamp is None or clamp[0] != 0 or site.quantizer is None:
        return
    zero, kind = _zero_point(site.quantizer), _type(site.quantizer)
    if zero is not None and kind == "int8" and zero.size == 1 and int(zero.reshape(-1)[0]) == 0:
        yield "the quantiser behind it is symmetric: half of its levels are never used"


def _unequal_parameters(site: Site) -> Iterator[str]:
    if site.operator.role != "passive":
        return
    for output in site.node.outputs:
        for use in output.uses():
            if is_standard(use.node, "QuantizeLinear") and not _same(site.activations[0], use.node):
                yield f"{output.name} is quantised with other parameters than its input"


def _never_int8(site: Site) -> Iterator[str]:
    """Find quantisers around a float operator that no int8 neighbour needs for its own inputs or result."""
    if site.operator.role != "float" or site.quantizer is None:
        return
    if not (all(map(site.is_made_in_int8, site.activations)) and site.is_read_in_int8(site.quantizer)):
        yield f"{site.target.name} runs it in float between its quantisers"


def _bias_scale(site: Site) -> Iterator[str]:
    bias = _input(site.node, site.operator.bias_input)
    stored = bias.producer() if bias is not None else None
    weight = site.weight_quantizer()
    if stored is None or weight is None or not is_standard(stored, "DequantizeLinear"):
        return
    found, x, w = _scale(stored), _scale(site.activations[0]), _scale(weight)
    if found is None or x is None or w is None:
        return
    expected = x.reshape(-1).astype(np.float64) * w.reshape(-1).astype(np.float64)
    if found.size not in (1, expected.size) or not np.allclose(
        found.reshape(-1), expected, rtol=1e-3, atol=0
    ):
        yield "the scale of its bias is not the product of those of input and weight"


def _foldable_weight(site: Site) -> Iterator[str]:
    weight = site.weight()
    if weight is not None and weight in site.unfolded:
        yield f"its weight {weight.name} is computed from constants: fold them"


def _float_weight(site: Site) -> Iterator[str]:
    weight = site.weight()
    if site.operator.role == "compute" and weight is not None and is_constant(weight):
        yield f"its input is quantised but its weight {weight.name} is float"


def _float_input(site: Site) -> Iterator[str]:
    if site.operator.role == "compute" and site.weight_quantizer() is not None:
        yield "its weight is quantised but its input is float"


def _asymmetric_weight(site: Site) -> Iterator[str]:
    stored = site.weight_quantizer()
    zero = _zero_point(stored) if stored is not None and site.operator.role == "compute" else None
    if zero is not None and zero.any():
        yield "its weight has zero points other than 0"


# What each pattern means, and the search for it.
PATTERNS: dict[str, tuple[str, Callable[[Site], Iterator[str]]]] = {
    "no-output-quantizer": ("no quantiser behind an operator that needs one", _no_output_quantizer),
    "unequal-types": ("output type unequal to input type", _unequal_types),
    "symmetric-clamp": ("symmetric quantiser at a Relu", _symmetric_clamp),
    "unequal-parameters": ("parameters change around an operator that only moves data", _unequal_parameters),
    "never-int8": ("quantisers around an operator that never runs in int8", _never_int8),
    "bias-scale": ("bias scale unequal to input scale times weight scale", _bias_scale),
    "foldable-weight": ("weight behind a chain that should have been folded", _foldable_weight),
    "float-weight": ("float weight beside an int8 input", _float_weight),
    FLOAT_INPUT: ("float input beside an int8 weight", _float_input),
    "asymmetric-weight": ("asymmetric weight", _asymmetric_weight),
}


def _input(node: ir.Node, position: int | None) -> ir.Value | None:
    return node.inputs[position] if position is not None and position < len(node.inputs) else None


def _scale(node: ir.Node) -> NDArray[np.generic] | None:
    return constant(_input(node, 1))


def _zero_point(node: ir.Node) -> NDArray[np.generic] | None:
    return constant(_input(node, 2))


def _type(node: ir.Node) -> str | None:
    zero = _input(node, 2)
    if zero is not None and zero.dtype is not None:
        return zero.dtype.name.lower()
    return "uint8" if is_standard(node, "QuantizeLinear") else None


def _same(first: ir.Node, second: ir.Node) -> bool:
    pairs = [(_scale(first), _scale(second)), (_zero_point(first), _zero_point(second))]
    return all(a is b or (a is not None and b is not None and np.array_equal(a, b)) for a, b in pairs)
