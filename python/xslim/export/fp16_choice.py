"""Choose the operators that compute in float16: all that can without losing accuracy or range."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Protocol

import onnx_ir as ir

from xslim.export.fp16_constants import RangeProblem, range_problem
from xslim.export.fp16_ports import Ports, float_ports, half_ports, has_float_data, takes_any
from xslim.graph.io import release
from xslim.graph.ops import constant, is_constant, is_standard
from xslim.targets import Operator, Target

_ROUNDS = 16


class Usage(Protocol):
    """One place where a value is read."""

    @property
    def node(self) -> ir.Node:
        """The reader."""

    @property
    def idx(self) -> int:
        """Position among the inputs of the reader."""


class Choice:
    """The operators of the main graph that become float16, and the reasons for the others.

    Parameters
    ----------
    model : onnx_ir.Model
        The prepared graph.
    targets : sequence of Target
        The targets that must be able to run the operators; the first one also tells what operators do to
        values.
    kept : mapping of str to str
        Names of operators that stay float32, each with the reason.
    wide : collection of str
        Names of tensors whose values do not fit float16.

    Attributes
    ----------
    half : dict of Node to Ports
        Operators that compute in float16.
    reasons : dict of Node to str
        The reasons why the other operators with float32 data stay float32.
    """

    def __init__(
        self, model: ir.Model, targets: Sequence[Target], kept: Mapping[str, str], wide: Collection[str]
    ) -> None:
        self.half: dict[ir.Node, Ports] = {}
        self.reasons: dict[ir.Node, str] = {}
        self._targets = targets
        self._kept = kept
        self._moving_functions = {
            name
            for name, function in model.functions.items()
            if all(targets[0].entry(node).moves_data for node in function)
        }
        self._values = _Values(model.graph, targets[0], wide)
        for node in model.graph:
            if has_float_data(node) and not _only_reads(node):
                self._decide(node, self._ports(node, model))
        self._avoid_casts()

    def is_half(self, value: ir.Value) -> bool:
        """Whether an operator writes the value as float16."""
        node = value.producer()
        return node in self.half and value.index() in self.half[node].outputs

    def wants_half(self, use: Usage) -> bool | None:
        """Whether a reader needs float16 (True) or float32 (False); None if it can read both."""
        if takes_any(use.node):
            return None
        return use.node in self.half and use.idx in self.half[use.node].inputs

    def _ports(self, node: ir.Node, model: ir.Model) -> Ports | str:
        if node.op_identifier() in self._moving_functions:
            return float_ports(node)
        return half_ports(node, model.opset_imports.get(node.domain, 0))

    def _decide(self, node: ir.Node, ports: Ports | str) -> None:
        if isinstance(ports, str):
            self.reasons[node] = ports
            return
        reason = self._kept.get(node.name or "") or self._refusal(node) or self._values.problem(node, ports)
        if reason is None:
            self.half[node] = ports
        else:
            self.reasons[node] = reason

    def _moves(self, node: ir.Node) -> bool:
        """Whether the node only moves or casts its input."""
        if node.op_identifier() in self._moving_functions or is_standard(node, "Cast"):
            return True
        return self._targets[0].entry(node).moves_data

    def _refusal(self, node: ir.Node) -> str | None:
        if self._moves(node):
            # An operator that the target refuses runs on another provider, which can move float16 too.
            return None
        return next((reason for target in self._targets if (reason := target.half_refusal(node))), None)

    def _avoid_casts(self) -> None:
        """Give operators that only move or cast data the type that needs fewer casts around them."""
        movers = {node: ports for node, ports in self.half.items() if self._moves(node)}
        for _ in range(_ROUNDS):
            changed = False
            for node in (*movers, *reversed(movers)):
                wanted = self._prefers_half(node, movers[node])
                if wanted != (node in self.half):
                    changed = True
                    self._switch(node, movers[node], wanted)
            if not changed:
                return

    def _prefers_half(self, node: ir.Node, ports: Ports) -> bool:
        """Whether a mover needs fewer casts as float16; if both need as many, its input's type decides."""
        as_half, as_float = (self._casts(node, ports, half=half) for half in (True, False))
        if as_half != as_float:
            return as_half < as_float
        computed = [
            value
            for position in ports.inputs
            if (value := node.inputs[position]) is not None and value.producer() is not None
        ]
        return not computed or any(self.is_half(value) for value in computed)

    def _switch(self, node: ir.Node, ports: Ports, half: bool) -> None:
        if half:
            self.half[node] = ports
            del self.reasons[node]
        else:
            del self.half[node]
            self.reasons[node] = "it only moves float32 data"

    def _casts(self, node: ir.Node, ports: Ports, *, half: bool) -> int:
        """Return the number of casts around a mover if it is float16 or float32."""
        sources = {
            value for position in ports.inputs if (value := node.inputs[position]) and not is_constant(value)
        }
        before = sum(
            self.is_half(value) != half and not self._is_read_as(value, half, besides=node)
            for value in sources
        )
        after = sum(self._is_read_as(node.outputs[position], not half) for position in ports.outputs)
        return before + after

    def _is_read_as(self, value: ir.Value, half: bool, besides: ir.Node | None = None) -> bool:
        readers = (self.wants_half(use) for use in value.uses() if use.node is not besides)
        return (value.is_graph_output() and not half) or half in readers


def _only_reads(node: ir.Node) -> bool:
    """Whether the node reads any type and writes no float32 tensor; the conversion does not affect it."""
    return takes_any(node) and all(output.dtype != ir.DataType.FLOAT for output in node.outputs)


class _Values:
    """Facts about the values of a graph that decide whether they fit float16."""

    def __init__(self, graph: ir.Graph, target: Target, wide: Collection[str]) -> None:
        self._target = target
        self._problems: dict[ir.Value, RangeProblem | None] = {}
        self._sizes = _shape_arithmetic(graph, target)
        self._wide = {value for value in _values(graph) if value.name in wide}
        for node in graph:
            entry = target.entry(node)
            carried = entry.carries_mask and any(
                value in self._wide for value in node.inputs if value is not None
            )
            if carried or self._overflowing(node, entry):
                self._wide.update(node.outputs)

    def problem(self, node: ir.Node, ports: Ports) -> str | None:
        """Return why the values around a node do not fit float16, or None if they do."""
        entry = self._target.entry(node)
        if node in self._sizes:
            return "it computes with shapes, not with data"
        if problem := self._overflowing(node, entry):
            return problem.reason
        if any(value in self._wide for value in (*node.inputs, *node.outputs)):
            return "its values may be outside the range of fp16"
        # A bias may lose small values, because its loss is smaller than the rounding error of the sum.
        factors = (position for position in ports.inputs if position != entry.bias_input)
        lost = (self._of_constant(node.inputs[position]) for position in factors)
        return next((problem.reason for problem in lost if problem and not problem.overflows), None)

    def _overflowing(self, node: ir.Node, entry: Operator) -> RangeProblem | None:
        """Return the problem of a constant that overflows float16; bounds may be infinite and are exempt."""
        fill = node.attributes.get("value")
        if is_standard(node, "ConstantOfShape") and fill is not None:
            problems: Iterable[RangeProblem | None] = [range_problem(fill.as_tensor().numpy())]
        else:
            problems = (self._of_constant(value) for value in ([] if entry.bounds_inputs else node.inputs))
        return next((problem for problem in problems if problem and problem.overflows), None)

    def _of_constant(self, value: ir.Value | None) -> RangeProblem | None:
        if value is None or value.dtype != ir.DataType.FLOAT or not is_constant(value):
            return None
        if value not in self._problems:
            array = constant(value)
            self._problems[value] = None if array is None else range_problem(array)
            del array
            release(value)
        return self._problems[value]


def _shape_arithmetic(graph: ir.Graph, target: Target) -> set[ir.Node]:
    """Return the nodes computed from shapes alone whose results become integers only: sizes and indices."""
    shapes: set[ir.Value] = set()
    for node in graph:
        sources = [value for value in node.inputs if value is not None and not is_constant(value)]
        if target.entry(node).measures_shape or (sources and all(value in shapes for value in sources)):
            shapes.update(node.outputs)
    found: set[ir.Node] = set()
    for node in reversed(graph):
        uses = [use for output in node.outputs for use in output.uses()]
        if (
            uses
            and node.outputs[0] in shapes
            and all(use.node in found or _only_reads(use.node) for use in uses)
        ):
            found.add(node)
    return found


def _values(graph: ir.Graph) -> Iterable[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs
