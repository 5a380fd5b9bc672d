"""The plan: which operators and tensors are int8, and which tensors share parameters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from xslim.graph.scheme import ConstantPlan, OperatorPlan, QuantPlan, TensorGroup
from xslim.quantization import operators as ops
from xslim.quantization.operators import Rules, data_inputs, is_constant, is_weight
from xslim.targets import Operator, Target


@dataclass(frozen=True)
class Method:
    """How ranges are searched where nothing else is said."""

    name: str
    max_percentile: float


@dataclass
class _Draft:
    """The plan while it is being made."""

    target: Target
    operators: dict[ir.Node, OperatorPlan]
    quantized: set[ir.Value] = field(default_factory=set)
    parent: dict[ir.Value, ir.Value] = field(default_factory=dict)
    derived: set[ir.Value] = field(default_factory=set)
    fused: set[ir.Value] = field(default_factory=set)
    biases: set[tuple[ir.Value, ir.Node]] = field(default_factory=set)

    def entry(self, node: ir.Node) -> Operator:
        return self.target.operator(node.domain, node.op_type)

    def is_int8(self, node: ir.Node | None) -> bool:
        return node is not None and node in self.operators and self.operators[node].int8

    def role(self, node: ir.Node) -> str:
        return self.entry(node).role

    def refuse(self, node: ir.Node, reason: str) -> None:
        self.operators[node] = replace(self.operators[node], int8=False, reason=reason)

    def root(self, value: ir.Value) -> ir.Value:
        while value in self.parent:
            value = self.parent[value]
        return value

    def share(self, first: ir.Value, second: ir.Value) -> None:
        first, second = self.root(first), self.root(second)
        if first is not second:
            self.parent[second] = first


def make_plan(model: ir.Model, target: Target, rules: Rules, method: Method) -> QuantPlan:
    """Plan the quantisation of a prepared model.

    Parameters
    ----------
    model : onnx_ir.Model
        Prepared: named nodes, inferred types, constants folded into initializers.
    target : Target
        The table that says what may be int8.
    rules : Rules
        Precision level and ignore lists.
    method : Method
        How ranges are searched.

    Returns
    -------
    QuantPlan
        Data only; the model is not touched.
    """
    graph = model.graph
    masked = ops.masked_values(graph)
    draft = _Draft(target, {node: ops.classify(node, target, rules, masked) for node in graph})
    _fuse(graph, draft)
    _demand(draft)
    _pull_passive(graph, draft)
    _spread_passive(graph, draft)
    groups = _groups(graph, draft, method)
    return QuantPlan(tuple(draft.operators.values()), groups, _constants(draft))


def _fuse(graph: ir.Graph, draft: _Draft) -> None:
    """Find outputs that never exist in int8, because what follows is applied before the quantiser."""
    for node in graph:
        if not draft.is_int8(node):
            continue
        entry, last = draft.entry(node), node
        if entry.fuses_bias and (bias := _added_bias(node, draft)) is not None:
            last = _absorb(last, draft)
            draft.biases.add((bias, last))
        if entry.fuses_activation and _is_clamp(_only_consumer(last), draft):
            _absorb(last, draft)


def _absorb(node: ir.Node, draft: _Draft) -> ir.Node:
    """Let the only consumer of `node` be computed before the quantiser; return the consumer."""
    consumer = _only_consumer(node)
    assert consumer is not None
    draft.fused.add(node.outputs[0])
    draft.operators[consumer] = replace(
        draft.operators[consumer], int8=True, reason=f"applied by {node.name}"
    )
    return consumer


def _is_clamp(node: ir.Node | None, draft: _Draft) -> bool:
    if node is None or _is_ignored(node, draft):
        return False
    entry = draft.entry(node)
    return entry.bounds is not None or entry.bounds_inputs


def _added_bias(node: ir.Node, draft: _Draft) -> ir.Value | None:
    """Return the constant vector that the only consumer of `node` adds along the last axis."""
    consumer = _only_consumer(node)
    if consumer is None or consumer.op_type != "Add" or _is_ignored(consumer, draft):
        return None
    others = [value for value in consumer.inputs if value is not node.outputs[0]]
    if len(others) != 1 or others[0] is None or not is_constant(others[0]):
        return None
    return others[0] if all(size == 1 for size in _constant_shape(others[0])[:-1]) else None


def _is_ignored(node: ir.Node, draft: _Draft) -> bool:
    return draft.operators[node].reason.startswith("listed")


def _constant_shape(value: ir.Value) -> tuple[int, ...]:
    return tuple(value.const_value.shape.numpy()) if value.const_value is not None else ()


def _only_consumer(node: ir.Node) -> ir.Node | None:
    output = node.outputs[0]
    users = output.uses()
    if len(node.outputs) != 1 or len(users) != 1 or output.is_graph_output():
        return None
    (use,) = users
    return use.node if use.node.graph is node.graph else None


def _demand(draft: _Draft) -> None:
    """Collect the tensors that int8 operators read and write."""
    for node, plan in draft.operators.items():
        entry = draft.entry(node)
        if not plan.int8 or entry.role in ("passive", "concat"):
            continue
        for value in data_inputs(node, entry):
            if not is_constant(value):
                draft.quantized.add(value)
        draft.quantized.update(node.outputs)
    draft.quantized -= draft.fused


def _pull_passive(graph: ir.Graph, draft: _Draft) -> None:
    """Move quantisers up through operators that only move data for int8 consumers."""
    for node in reversed(graph):
        if draft.role(node) != "passive" or not draft.is_int8(node):
            continue
        source = node.inputs[0]
        wanted = [output for output in node.outputs if output.uses() or output.is_graph_output()]
        if source is not None and wanted and all(_only_int8_readers(output, draft) for output in wanted):
            draft.quantized.add(source)
            _pass_through(node, source, draft)


def _only_int8_readers(value: ir.Value, draft: _Draft) -> bool:
    """Whether every reader is an int8 operator that reads the value as quantised data."""
    return (
        value in draft.quantized
        and not value.is_graph_output()
        and all(draft.is_int8(use.node) and _settled(use.node, draft) for use in value.uses())
    )


def _settled(node: ir.Node, draft: _Draft) -> bool:
    moves = draft.role(node) in ("passive", "concat")
    return not moves or all(output in draft.quantized for output in node.outputs)


def _spread_passive(graph: ir.Graph, draft: _Draft) -> None:
    """Carry int8 data on through operators that only move it; where there is none they stay float."""
    for node in graph:
        role = draft.role(node)
        if role not in ("passive", "concat") or not draft.is_int8(node):
            continue
        if any(output in draft.derived for output in node.outputs):
            continue
        sources = data_inputs(node, draft.entry(node))
        moving = [value for value in sources if not is_constant(value)]
        if not moving or not all(_exists_in_int8(value, draft) for value in moving):
            draft.refuse(node, "its input is float")
            continue
        for source in moving:
            _pass_through(node, source, draft)


def _exists_in_int8(value: ir.Value, draft: _Draft) -> bool:
    return value in draft.quantized and draft.is_int8(value.producer())


def _pass_through(node: ir.Node, source: ir.Value, draft: _Draft) -> None:
    for output in node.outputs:
        draft.quantized.add(output)
        draft.derived.add(output)
        draft.share(source, output)


def _groups(graph: ir.Graph, draft: _Draft, method: Method) -> tuple[TensorGroup, ...]:
    members: dict[ir.Value, list[ir.Value]] = {}
    for value in _in_graph_order(graph):
        if value in draft.quantized:
            members.setdefault(draft.root(value), []).append(value)
    return tuple(_group(values, draft, method) for values in members.values())


def _group(values: list[ir.Value], draft: _Draft, method: Method) -> TensorGroup:
    sources = [value for value in values if value not in draft.derived]
    ranges = {_fixed_range(value, draft) for value in sources}
    fixed = ranges.pop() if len(ranges) == 1 else None
    observed = () if fixed else tuple(value.name or "" for value in sources)
    return TensorGroup(
        tensors=tuple(value.name or "" for value in values),
        observed=observed,
        method=method.name,
        max_percentile=method.max_percentile,
        fixed_range=fixed,
    )


def _fixed_range(value: ir.Value, draft: _Draft) -> tuple[float, float] | None:
    node = value.producer()
    return draft.entry(node).output_range if node is not None else None


def _in_graph_order(graph: ir.Graph) -> Iterable[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def _constants(draft: _Draft) -> tuple[ConstantPlan, ...]:
    """Plan the constant data inputs of every int8 operator, biases excepted."""
    readers: dict[tuple[ir.Value, int | None, bool], list[str]] = {}
    for node, plan in draft.operators.items():
        entry = draft.entry(node)
        for value in data_inputs(node, entry) if plan.int8 else ():
            if not is_constant(value) or (value, node) in draft.biases or 0 in _constant_shape(value):
                continue
            weight = is_weight(node, entry, value)
            axis = _positive_axis(ops.weight_axis(node, entry), value) if weight else None
            names = readers.setdefault((value, axis, weight), [])
            names.append(node.name or "")
    return tuple(
        ConstantPlan(value.name or "", axis, symmetric, tuple(names))
        for (value, axis, symmetric), names in readers.items()
    )


def _positive_axis(axis: int | None, weight: ir.Value) -> int | None:
    rank = len(_constant_shape(weight))
    return axis % rank if axis is not None and rank > 1 else None
