"""Cut off the part of a changed model that computes the same as the original.

A trial that changes a few tensors of a model computes the same as the model up to the first change. With the
tensors at the cut given as inputs, only what lies behind has to be loaded and run.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx_ir as ir


def cut_equal_part(changed: ir.Model, original: ir.Model) -> list[str] | None:
    """Remove the nodes of a model that compute the same as those of the original.

    Parameters
    ----------
    changed : onnx_ir.Model
        A changed copy of the original, which shares its weights; tensors of the same name mean the same. It
        loses the nodes, and the tensors at the cut become inputs.
    original : onnx_ir.Model
        The model before the changes.

    Returns
    -------
    list of str or None
        The names of the new inputs. None if the model cannot be cut, because it has subgraphs or a tensor of
        unknown type; the model is then left unchanged.
    """
    if any(
        isinstance(attribute.value, ir.Graph) for node in changed.graph for attribute in _attributes(node)
    ):
        return None
    equal = _equal_nodes(changed.graph, original.graph)
    crossing = _crossing(changed.graph, equal)
    if not all(isinstance(value.type, ir.TensorType) for value in crossing):
        return None
    outputs = list(changed.graph.outputs)
    for value in crossing:
        given = ir.Value(name=value.name, type=value.type)
        changed.graph.inputs.append(given)
        for node, index in [(use.node, use.idx) for use in value.uses() if use.node not in equal]:
            node.replace_input_with(index, given)
        outputs = [given if output is value else output for output in outputs]
    changed.graph.outputs[:] = outputs
    changed.graph.remove(equal, safe=True)
    for name, value in list(changed.graph.initializers.items()):
        if not value.uses() and not value.is_graph_output():
            del changed.graph.initializers[name]
    return [value.name or "" for value in crossing]


def _attributes(node: ir.Node) -> Collection[ir.Attr]:
    return node.attributes.values()


def _equal_nodes(graph: ir.Graph, original: ir.Graph) -> set[ir.Node]:
    """Return the nodes of a graph whose twin in the original computes the same from the same inputs."""
    twins = {node.name: node for node in original}
    same: set[ir.Value | None] = {None, *graph.inputs}
    for name, value in graph.initializers.items():
        weight = original.initializers.get(name)
        if weight is not None and value.const_value is weight.const_value:
            same.add(value)
    found: set[ir.Node] = set()
    for node in graph:
        twin = twins.get(node.name)
        if twin is not None and same.issuperset(node.inputs) and _description(node) == _description(twin):
            found.add(node)
            same.update(node.outputs)
    return found


def _description(node: ir.Node) -> tuple[object, ...]:
    inputs = tuple(value and value.name for value in node.inputs)
    return node.domain, node.op_type, inputs, tuple(value.name for value in node.outputs)


def _crossing(graph: ir.Graph, equal: Collection[ir.Node]) -> list[ir.Value]:
    """Return the tensors that nodes of the equal part write and that are read behind it, or are outputs."""
    written = [value for node in graph if node in equal for value in node.outputs]
    return [
        value
        for value in written
        if value.is_graph_output() or any(use.node not in equal for use in value.uses())
    ]
