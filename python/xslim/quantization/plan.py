"""The plan: which operators and tensors are int8, and which tensors share parameters."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from fnmatch import filter as matching

import onnx
import onnx_ir as ir

from xslim.graph.ops import is_constant
from xslim.graph.scheme import ConcatPlan, ConstantPlan, QuantPlan, TensorGroup
from xslim.quantization.fills import filled, widened
from xslim.quantization.flow import Flow, trace
from xslim.quantization.operators import Context, classify, data_inputs, is_weight, moving_inputs
from xslim.quantization.protected import mask_values, shape_values
from xslim.quantization.regions import settings_by_node
from xslim.quantization.rules import OperatorSettings, Rules, listed_tensors
from xslim.quantization.signal import signal_values
from xslim.targets import Target

logger = logging.getLogger(__name__)


def make_plan(model: ir.Model, target: Target, rules: Rules, *, mention: bool = True) -> QuantPlan:
    """Plan the quantisation of a prepared model.

    Parameters
    ----------
    model : onnx_ir.Model
        The prepared model, with named nodes, inferred types and constants folded into initializers.
    target : Target
        The table that says what may be int8.
    rules : Rules
        Precision levels, regions and ignore lists.
    mention : bool
        Whether to log what the rules cover and to warn about rules without effect. A run that makes several
        plans does so once.

    Returns
    -------
    QuantPlan
        The plan; the model is not changed.

    Raises
    ------
    ConfigError
        A region of the rules does not exist in the model.
    """
    graph = model.graph
    if mention:
        mention_unmatched(graph, rules)
    context = Context(
        target=target,
        ignored={node: reason for node in graph if (reason := rules.ignored(node))},
        settings=settings_by_node(graph, rules, mention=mention),
        masks=mask_values(graph, target, rules.masks),
        shapes=shape_values(graph, target),
        kept_float={**signal_values(graph), **listed_tensors(model, rules.float_tensors), **rules.kept_float},
    )
    flow = trace(graph, context, {node: classify(node, context) for node in graph})
    return QuantPlan(
        operators=tuple(flow.operators.values()),
        groups=_groups(graph, flow, rules.settings),
        constants=_constants(flow),
        concats=_concats(flow),
    )


def mention_unmatched(graph: ir.Graph, rules: Rules) -> None:
    """Warn about every entry of the lists of operators and tensors that stay float that matches nothing."""
    names = [node.name or "" for node in graph]
    for pattern in rules.ignore_op_names:
        if not matching(names, pattern):
            hint = _nearest(pattern, names)
            logger.warning("ignore_op_names: no operator of the prepared model is named %r%s", pattern, hint)
    types = sorted({node.op_type for node in graph})
    for pattern in rules.ignore_op_types:
        # No warning for a standard type: the list may serve several models, and preparation may fold
        # operators.
        if not matching(types, pattern) and not onnx.defs.has(pattern):
            hint = _nearest(pattern, types)
            logger.warning("ignore_op_types: the prepared model has no operator %r%s", pattern, hint)

    tensors = [value.name or "" for value in _in_graph_order(graph)]
    for pattern in rules.float_tensors:
        if pattern not in tensors and not matching(tensors, pattern):
            hint = _nearest(pattern, tensors)
            logger.warning("float_tensors: no tensor of the prepared model is named %r%s", pattern, hint)


def _nearest(wanted: str, known: Sequence[str]) -> str:
    """Return a question that proposes the nearest known word, ignoring case."""
    folded = {word.lower(): word for word in known}
    near = get_close_matches(wanted.lower(), folded, n=1)
    return f", did you mean {folded[near[0]]!r}?" if near else ""


def _groups(graph: ir.Graph, flow: Flow, default: OperatorSettings) -> tuple[TensorGroup, ...]:
    members: dict[ir.Value, list[ir.Value]] = {}
    for value in _in_graph_order(graph):
        if value in flow.quantized:
            members.setdefault(flow.root(value), []).append(value)
    return tuple(_group(root, values, flow, default) for root, values in members.items())


def _group(root: ir.Value, values: list[ir.Value], flow: Flow, default: OperatorSettings) -> TensorGroup:
    node = root.producer()
    fixed = flow.entry(node).output_range if node is not None else None
    settings = _settings(root, flow) or default
    absorbed = node is not None and any(value in flow.fused for value in node.inputs[:1])
    clamp = flow.entry(node).clamp(node) if node is not None and absorbed else None
    fills = filled(values, flow)
    return TensorGroup(
        tensors=tuple(value.name or "" for value in values),
        observed=tuple(value.name or "" for value in (root, *fills)),
        method=settings.method,
        max_percentile=settings.max_percentile,
        fixed_range=widened(fixed, fills.values()),
        # A quantiser that must represent a constant outside of the bounds of an activation cannot replace it.
        clamp=clamp if widened(clamp, fills.values()) == clamp else None,
    )


def _settings(value: ir.Value, flow: Flow) -> OperatorSettings | None:
    """Return the settings of the int8 operator that writes the tensor, or else of its first int8 reader."""
    around = [value.producer(), *(use.node for use in value.uses())]
    return next((flow.context.settings[node] for node in around if node and flow.is_int8(node)), None)


def _in_graph_order(graph: ir.Graph) -> Iterable[ir.Value]:
    yield from graph.inputs
    for node in graph:
        yield from node.outputs


def _constants(flow: Flow) -> tuple[ConstantPlan, ...]:
    """Plan the constant data inputs of every int8 operator, biases excepted."""
    readers: dict[tuple[ir.Value, int | None, bool], list[str]] = {}
    for node in flow.operators:
        if not flow.is_int8(node):
            continue
        entry = flow.entry(node)
        for value in dict.fromkeys(data_inputs(node, entry)):
            empty = value.shape is not None and 0 in value.shape
            if not is_constant(value) or (value, node) in flow.biases or empty:
                continue
            weight = is_weight(node, entry, value)
            axis = entry.axis_of_weight(node) if weight else None
            readers.setdefault((value, axis, weight), []).append(node.name or "")
    return tuple(
        ConstantPlan(value.name or "", axis, symmetric, tuple(names))
        for (value, axis, symmetric), names in readers.items()
    )


def _concats(flow: Flow) -> tuple[ConcatPlan, ...]:
    return tuple(
        _concat(node, flow)
        for node in flow.operators
        if flow.is_int8(node) and flow.entry(node).role == "concat"
    )


def _concat(node: ir.Node, flow: Flow) -> ConcatPlan:
    inputs = list(dict.fromkeys(moving_inputs(node, flow.entry(node))))
    return ConcatPlan(
        output=node.outputs[0].name or "",
        inputs=tuple(value.name or "" for value in inputs),
        private=frozenset(value.name or "" for value in inputs if _is_private(value, node, flow)),
    )


def _is_private(value: ir.Value, reader: ir.Node, flow: Flow) -> bool:
    """Whether one operator alone reads the value, and every tensor from which the value was moved."""
    if value.is_graph_output() or any(use.node is not reader for use in value.uses()):
        return False
    source = flow.moved.get(value)
    writer = value.producer()
    return source is None or writer is None or _is_private(source, writer, flow)
