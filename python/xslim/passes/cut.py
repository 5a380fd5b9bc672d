"""Split a model at given tensors into two parts, and join the two parts again."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from xslim.errors import ModelError
from xslim.graph.interface import Interface
from xslim.graph.ops import opset
from xslim.passes.folding import infer_shapes
from xslim.passes.opset import convert_opset
from xslim.passes.tidy import fit_ir_version, unique_names

logger = logging.getLogger(__name__)

_SHOWN = 5


@dataclass(frozen=True)
class Parts:
    """The two parts of a model.

    Attributes
    ----------
    head : onnx_ir.Model
        The first part. Its inputs are all inputs of the model; its outputs are the cut tensors, followed by
        the outputs of the model that the head computes.
    tail : onnx_ir.Model
        The second part: from the cut tensors, and inputs of the model that it reads, to the other outputs.
    interface : Interface
        The interface of the model.
    """

    head: ir.Model
    tail: ir.Model
    interface: Interface


def split(model: ir.Model, names: Sequence[str]) -> Parts:
    """Split the model at the named tensors.

    The tail holds the nodes that depend on these tensors and on which these tensors do not depend.

    Parameters
    ----------
    model : onnx_ir.Model
        Left unchanged.
    names : sequence of str
        Tensors that nodes of the main graph compute. The tail must not read any other tensor that the head
        computes.

    Raises
    ------
    ModelError
        A name does not exist, is given twice, is an input or a constant, or the tail does not read it. Or the
        tail reads further tensors of the head; the error lists them.
    """
    model = model.clone()
    infer_shapes(model)
    cut = [_computed(model.graph, name) for name in _distinct(names)]
    tail_nodes = _behind(model.graph, cut)
    _check_read(cut, tail_nodes)
    crossing = _crossing(model.graph, tail_nodes, {value.name or "" for value in cut})
    if crossing:
        shown = ", ".join(repr(name) for name in crossing[:_SHOWN])
        more = f" and {len(crossing) - _SHOWN} more" if len(crossing) > _SHOWN else ""
        raise ModelError(
            f"truncate_var_names do not separate the graph: {shown}{more} cross the cut as well",
            hint="name them too, or cut elsewhere",
        )
    outputs = [value for value in model.graph.outputs if value.producer() not in tail_nodes]
    tail_inputs = [*cut, *_inputs_of(tail_nodes)]
    tail_outputs = [value for value in model.graph.outputs if value.producer() in tail_nodes]
    return Parts(
        _extract(model, list(model.graph.inputs), [*cut, *outputs]),
        _extract(model, tail_inputs, tail_outputs),
        Interface.of(model),
    )


def join(parts: Parts, head: ir.Model) -> ir.Model:
    """Join a head that has the interface of ``parts.head`` with the tail.

    The head's names are kept. Names of the tail that also occur in the head get a number.

    Returns
    -------
    onnx_ir.Model
        A model with the interface of the model that was split.
    """
    result, tail = head.clone(), parts.tail.clone()
    if opset(tail) < opset(result):
        tail = convert_opset(tail, opset(result), "the first part needs it")
    elif opset(result) < opset(tail):
        result = convert_opset(result, opset(tail), "the second part needs it")
    outputs = {value.name: value for value in (*tail.graph.outputs, *result.graph.outputs)}
    _rename_apart(result.graph, tail.graph, keep={port.name for port in parts.interface.outputs})
    _connect(result.graph, tail.graph)
    result.graph.outputs[:] = [outputs[port.name] for port in parts.interface.outputs]
    result.functions.update(tail.functions)
    for domain, version in tail.opset_imports.items():
        result.opset_imports.setdefault(domain, version)
    unique_names(result)
    fit_ir_version(result)
    parts.interface.restore(result)
    return result


def _distinct(names: Sequence[str]) -> Sequence[str]:
    for name in names:
        if names.count(name) > 1:
            raise ModelError(f"truncate_var_names: {name!r} is given twice", hint="name it once")
    if not names:
        raise ModelError(
            "truncate_var_names is empty: there is nothing to cut at", hint="leave it out, or name tensors"
        )
    return names


def _computed(graph: ir.Graph, name: str) -> ir.Value:
    values = {value.name: value for node in graph for value in node.outputs}
    if name in values:
        return values[name]
    given = {value.name for value in (*graph.inputs, *graph.initializers.values())}
    if name in given:
        raise ModelError(
            f"truncate_var_names: {name!r} is an input or a constant: nothing comes before it",
            hint="name a tensor that is computed",
        )
    raise ModelError(
        f"truncate_var_names: the model has no tensor {name!r}", hint="see its names in a viewer"
    )


def _behind(graph: ir.Graph, cut: Sequence[ir.Value]) -> set[ir.Node]:
    """Return the nodes that depend on the cut tensors and on which the cut tensors do not depend."""
    reached, found = set(cut), set()
    for node in graph:
        if any(value in reached for value in _read_values(node)):
            found.add(node)
            reached.update(node.outputs)
    needed = set(cut)
    for node in reversed(graph):
        if any(value in needed for value in node.outputs):
            found.discard(node)
            needed.update(_read_values(node))
    return found


def _check_read(cut: Sequence[ir.Value], tail_nodes: set[ir.Node]) -> None:
    read = {value for node in tail_nodes for value in _read_values(node)}
    for value in cut:
        if value not in read:
            raise ModelError(
                f"truncate_var_names: nothing behind the cut reads {value.name!r}", hint="leave it out"
            )


def _read_values(node: ir.Node) -> list[ir.Value]:
    """Return the inputs of a node and the outer values that its nested graphs read."""
    nested = [inner for graph in _nested_graphs(node) for inner in graph.all_nodes()]
    return [value for each in (node, *nested) for value in each.inputs if value is not None]


def _nested_graphs(node: ir.Node) -> list[ir.Graph]:
    return [
        graph
        for attribute in node.attributes.values()
        if attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        for graph in (
            [attribute.as_graph()] if attribute.type == ir.AttributeType.GRAPH else attribute.as_graphs()
        )
    ]


def _crossing(graph: ir.Graph, tail_nodes: set[ir.Node], cut: set[str]) -> list[str]:
    names = {
        value.name: None
        for node in graph
        if node in tail_nodes
        for value in _read_values(node)
        if value.graph is graph and value.producer() is not None and value.producer() not in tail_nodes
    }
    return [name for name in names if name is not None and name not in cut]


def _inputs_of(nodes: set[ir.Node]) -> list[ir.Value]:
    """Return the model inputs that these nodes read, in the order of the model's inputs."""
    read = {value for node in nodes for value in _read_values(node) if value.is_graph_input()}
    owner = next(iter(nodes)).graph
    return [value for value in owner.inputs if value in read] if owner is not None else []


def _extract(model: ir.Model, inputs: list[ir.Value], outputs: list[ir.Value]) -> ir.Model:
    graph = ir.convenience.extract(model.graph, inputs, outputs)
    graph.opset_imports.update(model.opset_imports)
    _order_initializers(graph, model.graph)
    part = ir.Model(graph, ir_version=model.ir_version)
    part.functions.update(model.clone().functions)
    return part


def _order_initializers(graph: ir.Graph, whole: ir.Graph) -> None:
    """Sort the initializers as in the whole model: ``extract`` returns them as a set, in a random order."""
    kept = dict(graph.initializers)
    graph.initializers.clear()
    graph.initializers.update({name: kept[name] for name in whole.initializers if name in kept})


def _rename_apart(first: ir.Graph, second: ir.Graph, keep: set[str]) -> None:
    """Rename values of `second` whose names occur in `first`, except its inputs and the names in `keep`."""
    taken = {value.name for value in ir.convenience.create_value_mapping(first).values()}
    inputs = {value.name for value in second.inputs}
    for name, value in list(ir.convenience.create_value_mapping(second).items()):
        if name not in taken or name in inputs or name in keep:
            continue
        count = 1
        while f"{name}_{count}" in taken:
            count += 1
        value.name = f"{name}_{count}"
        taken.add(value.name)


def _connect(first: ir.Graph, second: ir.Graph) -> None:
    available = {value.name: value for value in (*first.inputs, *first.outputs)}
    for value in list(second.inputs):
        ir.convenience.replace_all_uses_with(value, available[value.name], replace_graph_outputs=True)
    for value in list(second.initializers.values()):
        second.initializers.pop(value.name or "")
        first.register_initializer(value)
    nodes = list(second)
    second.outputs.clear()
    second.remove(nodes)
    first.extend(nodes)
