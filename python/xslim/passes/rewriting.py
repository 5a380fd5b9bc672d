"""Apply rewrite rules, say what they did, and leave model-local functions alone."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import onnx_ir as ir
from onnxscript.rewriter import RewriteRule

from xslim.passes.rules.base import AnyRule, EveryOrder
from xslim.passes.tidy import unique_names

logger = logging.getLogger(__name__)

_ROUNDS = 16

# What must stand before a node: at an input's place an operator, before which the same must hold.
Shape: TypeAlias = "tuple[tuple[int, str, Shape], ...]"

# Rules, with the shape of their patterns, by the operator at which a match of theirs ends.
RulesByRoot = Mapping[str, Sequence[tuple[Shape, RewriteRule]]]


@contextlib.contextmanager
def functions_aside(model: ir.Model) -> Iterator[None]:
    """While open, the model has no functions: rules neither see nor change their bodies."""
    functions = dict(model.functions)
    model.functions.clear()
    try:
        yield
    finally:
        model.functions.update(functions)


def apply_rules(model: ir.Model, rules: Sequence[AnyRule]) -> Counter[str]:
    """Apply the rules until none fires; at one node the first that fires wins.

    Returns
    -------
    Counter
        How often each rule fired, by name.
    """
    fired: Counter[str] = Counter()
    with functions_aside(model):
        for _ in range(_ROUNDS):
            by_root = rules_by_root(model, rules)
            names = [name for graph in model.graphs() for name in _apply_once(model, graph, by_root)]
            if not names:
                break
            fired.update(names)
            unique_names(model)
    for name, count in sorted(fired.items()):
        logger.info("%s: %d", name, count)
    return fired


def rules_by_root(model: ir.Model, rules: Sequence[AnyRule]) -> RulesByRoot:
    """Sort rules by their last operator, without those whose operators the model does not have."""
    present = {node.op_type for node in model.graph.all_nodes()}
    by_root: dict[str, list[tuple[Shape, RewriteRule]]] = defaultdict(list)
    for rule in rules:
        # The rewriter has no public way to ask a rule for its operators.
        pattern = (rule.rule if isinstance(rule, EveryOrder) else rule)._target_pattern
        if all(str(node.op_type) in present for node in pattern):
            orders = rule.orders if isinstance(rule, EveryOrder) else (rule,)
            by_root[str(pattern.output_node.op_type)].extend(
                (_shape(order._target_pattern.output_node), order) for order in orders
            )
    return by_root


def candidates(node: ir.Node, by_root: RulesByRoot) -> Iterator[RewriteRule]:
    """The rules for whose pattern the right operators stand before a node.

    Most rules fail at this, and the rewriter takes a hundred times longer to find out.
    """
    return (rule for shape, rule in by_root.get(node.op_type, ()) if _stands_before(node, shape))


def _shape(pattern: Any) -> Shape:
    """Operators of a pattern by place; what may be one of several is left out."""
    producers = ((place, value.producer()) for place, value in enumerate(pattern.inputs) if value is not None)
    return tuple((place, str(node.op_type), _shape(node)) for place, node in producers if node is not None)


def _stands_before(node: ir.Node, shape: Shape) -> bool:
    inputs = node.inputs
    for place, op_type, before in shape:
        value = inputs[place] if place < len(inputs) else None
        source = value.producer() if value is not None else None
        if source is None or source.op_type != op_type or not _stands_before(source, before):
            return False
    return True


def _apply_once(model: ir.Model, graph: ir.Graph, by_root: RulesByRoot) -> Iterator[str]:
    """One walk over the nodes of one graph; yields the name of each rule that fired.

    RewriteRuleSet does the same but tries every rule at every node, which takes minutes on 6,000 nodes.
    """
    for node in graph:
        for rule in candidates(node, by_root):
            found = rule.try_rewrite(model, graph, node)
            if found is None:
                continue
            for value in found.new_initializers:
                graph.register_initializer(value)
            _name_after(found.new_nodes, [*found.match.nodes, node])
            removed = found.match.nodes if rule.remove_nodes else []
            ir.convenience.replace_nodes_and_values(
                graph, node, removed, found.new_nodes, found.match.outputs, found.new_outputs
            )
            yield rule.name or f"Simpler{node.op_type}"
            break


def _name_after(new: Sequence[ir.Node], old: Sequence[ir.Node]) -> None:
    """Give new nodes the name of the old node with the same operator, or of the last one.

    People name operators in configurations as they see them in their model.
    """
    by_operator = {node.op_type: node.name for node in reversed(old)}
    for node in new:
        if not node.name:
            node.name = by_operator.get(node.op_type, old[-1].name)
