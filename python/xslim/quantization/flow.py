"""Follow int8 data through the graph: which operators fuse, which tensors are int8, what moves int8 data."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import onnx_ir as ir

from xslim.graph.ops import constant, is_constant, sole_consumer
from xslim.graph.scheme import OperatorPlan
from xslim.quantization.operators import FLOAT_LEVELS, Context, data_positions, moving_inputs
from xslim.targets import Operator


@dataclass
class Flow:
    """The plan of every operator, and the state of the tensors that results from it.

    Attributes
    ----------
    operators : dict
        The plan of every operator, in graph order.
    fused : set of Value
        Outputs of int8 operators that never exist in int8, because their only reader is absorbed: the
        quantiser stands behind the reader.
    owners : dict of Node to Node
        Absorbed operators, each with the operator before it that shares its quantiser.
    biases : set of (Value, Node)
        Constants that an absorbed Add adds, and that Add; the constants stay float.
    wanted : set of Value
        Tensors that int8 compute operators read, directly or through other int8 operators.
    quantized : set of Value
        Activations that exist in int8.
    moved : dict of Value to Value
        Outputs of passive int8 operators, each with the tensor whose values it holds.
    """

    context: Context
    operators: dict[ir.Node, OperatorPlan]
    fused: set[ir.Value] = field(default_factory=set)
    owners: dict[ir.Node, ir.Node] = field(default_factory=dict)
    biases: set[tuple[ir.Value, ir.Node]] = field(default_factory=set)
    wanted: set[ir.Value] = field(default_factory=set)
    quantized: set[ir.Value] = field(default_factory=set)
    moved: dict[ir.Value, ir.Value] = field(default_factory=dict)

    def entry(self, node: ir.Node) -> Operator:
        """Return the target's entry for the node."""
        return self.context.target.entry(node)

    def is_int8(self, node: ir.Node | None) -> bool:
        """Whether the node is an int8 operator of the main graph."""
        return node is not None and node in self.operators and self.operators[node].int8

    def leaves_float(self, node: ir.Node) -> bool:
        """Whether an int8 operator writes its result in float, because no int8 operator reads the result."""
        owner = self.owners.get(node, node)
        return self.entry(owner).float_output and not any(output in self.wanted for output in node.outputs)

    def is_written(self, value: ir.Value) -> bool:
        """Whether an int8 operator writes the value in int8."""
        node = value.producer()
        return (
            node is not None
            and self.is_int8(node)
            and value not in self.fused
            and not self.leaves_float(node)
        )

    def root(self, value: ir.Value) -> ir.Value:
        """Return the tensor at which a chain of passive operators starts."""
        while value in self.moved:
            value = self.moved[value]
        return value


def trace(graph: ir.Graph, context: Context, operators: dict[ir.Node, OperatorPlan]) -> Flow:
    """Follow int8 data through the graph.

    Parameters
    ----------
    graph : onnx_ir.Graph
        In topological order.
    context : Context
        Target, settings and protected values.
    operators : dict
        The result of `classify` for every operator.
    """
    flow = Flow(context, dict(operators))
    _fuse(graph, flow)
    while _refuse_idle(graph, flow):
        pass
    for node in flow.operators:
        if not flow.is_int8(node):
            continue
        entry = flow.entry(node)
        sources, results = moving_inputs(node, entry), [output for output in node.outputs if output.name]
        flow.quantized.update(sources)
        if not flow.leaves_float(node):
            flow.quantized.update(results)
        if entry.role == "passive":
            flow.moved.update(dict.fromkeys(results, sources[0]))
    flow.quantized -= flow.fused
    return flow


def _fuse(graph: ir.Graph, flow: Flow) -> None:
    for node in graph:
        if not flow.is_int8(node) or len(node.outputs) != 1 or node in flow.owners:
            continue
        entry, last = flow.entry(node), node
        if entry.fuses_bias and (bias := _added_bias(last, flow)) is not None:
            last = _absorb(last, node, flow)
            flow.biases.add((bias, last))
        if entry.fuses_activation and _is_clamp(_follower(last, flow), flow):
            _absorb(last, node, flow)


def _absorb(last: ir.Node, owner: ir.Node, flow: Flow) -> ir.Node:
    """Absorb the only consumer of `last`, so that the quantiser of `owner` stands behind it; return it."""
    consumer = _follower(last, flow)
    assert consumer is not None
    flow.fused.add(last.outputs[0])
    flow.owners[consumer] = owner
    flow.operators[consumer] = replace(flow.operators[consumer], int8=True, reason=f"applied by {owner.name}")
    return consumer


def _follower(node: ir.Node, flow: Flow) -> ir.Node | None:
    """Return the only consumer of the node if it may be absorbed, or None."""
    consumer = sole_consumer(node.outputs[0])
    context = flow.context
    if consumer is None or consumer not in flow.operators or consumer in context.ignored:
        return None
    if context.settings[consumer].precision_level in FLOAT_LEVELS:
        return None
    if context.target.refusal(consumer) or consumer.outputs[0] in context.masks:
        return None
    return consumer


def _is_clamp(node: ir.Node | None, flow: Flow) -> bool:
    return node is not None and flow.entry(node).clamp(node) is not None


def _added_bias(node: ir.Node, flow: Flow) -> ir.Value | None:
    """Return the constant that the only consumer of `node` adds along the last axis."""
    consumer = _follower(node, flow)
    if consumer is None or not flow.entry(consumer).adds_bias:
        return None
    others = [value for value in consumer.inputs if value is not node.outputs[0]]
    if len(others) != 1 or others[0] is None or not is_constant(others[0]):
        return None
    array = constant(others[0])
    return others[0] if array is not None and all(size == 1 for size in array.shape[:-1]) else None


def _refuse_idle(graph: ir.Graph, flow: Flow) -> bool:
    """Make operators float if no one needs their int8 result, or if they move or clamp data that is not int8.

    Returns whether any operator changed; then further operators may have lost their reason to be int8.
    """
    flow.wanted = _wanted(graph, flow)
    exclusive = _exclusive(graph, flow)
    changed = False
    for node in graph:
        entry = flow.entry(node)
        if not flow.is_int8(node) or entry.role == "compute" or node in flow.owners:
            continue
        written = all(flow.is_written(value) for value in moving_inputs(node, entry))
        if written and _moves_int8_anyway(node, flow):
            continue
        if not any(output in flow.wanted for output in node.outputs):
            reason = "nothing after it computes in int8"
        elif (
            written or not _follows_its_input(node, flow) or _can_be_quantized_earlier(node, exclusive, flow)
        ):
            continue
        else:
            reason = "its input is float"
        flow.operators[node] = replace(flow.operators[node], int8=False, reason=reason)
        _release(node, flow)
        changed = True
    return changed


def _follows_its_input(node: ir.Node, flow: Flow) -> bool:
    """Whether the node is float if its input is: it moves data, or clamps, which is better done unrounded."""
    return flow.entry(node).moves_data or _is_clamp(node, flow)


def _release(node: ir.Node, flow: Flow) -> None:
    """Undo the absorption of the operators behind the node; each then has a quantiser of its own."""
    flow.fused.discard(node.outputs[0])
    for absorbed in [absorbed for absorbed, owner in flow.owners.items() if owner is node]:
        del flow.owners[absorbed]


def _moves_int8_anyway(node: ir.Node, flow: Flow) -> bool:
    """Whether the node moves int8 data as int8 even if only float operators read the result.

    Moving int8 data takes a quarter of the bandwidth of float data. A Concat may round its inputs once more,
    so it stays int8 only at level 0, which makes everything int8 that can be.
    """
    role, level = flow.entry(node).role, flow.context.settings[node].precision_level
    return role == "passive" or (role == "concat" and level == 0)


def _can_be_quantized_earlier(node: ir.Node, exclusive: set[ir.Value], flow: Flow) -> bool:
    """Whether the data can be quantised before the node moves it, as nothing reads the result in float."""
    return flow.entry(node).role == "passive" and all(output in exclusive for output in _used(node))


def _used(node: ir.Node) -> list[ir.Value]:
    return [output for output in node.outputs if output.uses() or output.is_graph_output()]


def _wanted(graph: ir.Graph, flow: Flow) -> set[ir.Value]:
    """Return the values that int8 compute operators read, directly or through other int8 operators."""
    wanted: set[ir.Value] = set()
    for node in reversed(graph):
        if not flow.is_int8(node):
            continue
        if node in flow.owners:
            results = (value for value in node.inputs if value is not None and value in flow.fused)
            wanted.update(results if node.outputs[0] in wanted else ())
            continue
        entry = flow.entry(node)
        if entry.role == "compute" or any(output in wanted for output in node.outputs):
            wanted.update(moving_inputs(node, entry))
    return wanted


def _exclusive(graph: ir.Graph, flow: Flow) -> set[ir.Value]:
    """Return the values that nothing reads in float; they can be quantised before they are moved."""
    exclusive: set[ir.Value] = set()
    for node in reversed(graph):
        exclusive.update(output for output in node.outputs if _only_int8_reads(output, exclusive, flow))
    return exclusive


def _only_int8_reads(value: ir.Value, exclusive: set[ir.Value], flow: Flow) -> bool:
    uses = value.uses()
    if not uses or value.is_graph_output() or value in flow.fused:
        return False
    return all(
        flow.is_int8(node)
        and position in data_positions(node, flow.entry(node))
        and (not flow.entry(node).moves_data or _passes_only_to_int8(node, exclusive, flow))
        for node, position in uses
    )


def _passes_only_to_int8(node: ir.Node, exclusive: set[ir.Value], flow: Flow) -> bool:
    return flow.entry(node).role == "passive" and all(output in exclusive for output in _used(node))
