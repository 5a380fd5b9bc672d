"""The graph of a model as data: its operators, who reads whom, and the row of each in the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

CONSTANT = "Constant"


@dataclass(frozen=True)
class GraphNode:
    """One operator of the float model.

    Attributes
    ----------
    name, op_type : str
        The operator.
    int8 : bool
        Whether it is int8.
    readers : tuple of int
        Positions of the operators that read what it writes, in ascending order.
    row : int or None
        Position in the report of its tensor, or of the tensor of the activation function that is applied
        before its quantiser; None if it has none.
    """

    name: str
    op_type: str
    int8: bool
    readers: tuple[int, ...]
    row: int | None


def graph_nodes(model: ir.Model, int8: frozenset[str], rows: Mapping[str, int]) -> tuple[GraphNode, ...]:
    """Return the operators of the main graph in topological order, without constants.

    Parameters
    ----------
    model : onnx_ir.Model
        The float model, sorted.
    int8 : set of str
        Names of the int8 operators.
    rows : mapping of str to int
        The positions of the int8 tensors in the report.
    """
    nodes = [node for node in model.graph if node.op_type != CONSTANT]
    places = {inner: index for index, node in enumerate(nodes) for inner in (node, *_within(node))}
    found: list[GraphNode] = []
    row_of: dict[int, int | None] = {}
    for index in reversed(range(len(nodes))):
        node = nodes[index]
        readers = tuple(sorted(_readers(node, places) - {index}))
        is_int8 = (node.name or "") in int8
        row = next((rows[name] for out in node.outputs if (name := out.name or "") in rows), None)
        if row is None and is_int8 and len(readers) == 1:
            # A convolution and the activation function behind it have one quantiser, and one error.
            row = row_of[readers[0]]
        row_of[index] = row
        found.append(GraphNode(node.name or "", node.op_type, is_int8, readers, row))
    return tuple(reversed(found))


def _within(node: ir.Node) -> Iterator[ir.Node]:
    """Yield the operators in the bodies of an operator, which read through it."""
    for item in node.attributes.values():
        if item.is_ref():
            continue
        if item.type == ir.AttributeType.GRAPH:
            yield from item.as_graph().all_nodes()
        elif item.type == ir.AttributeType.GRAPHS:
            for graph in item.as_graphs():
                yield from graph.all_nodes()


def _readers(node: ir.Node, places: Mapping[ir.Node, int]) -> set[int]:
    uses = (use.node for output in node.outputs for use in output.uses())
    return {places[reader] for reader in uses if reader in places}
