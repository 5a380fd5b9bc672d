"""Find the nodes that an execution provider runs, and the number of subgraphs that these nodes form."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx_ir as ir

from xslim.graph.ops import is_standard
from xslim.targets import Target


def refusals(graph: ir.Graph, target: Target) -> dict[ir.Node, str | None]:
    """Return for every node except constants why the target does not run it, or None if it does."""
    return {node: target.refusal(node) for node in graph if not is_standard(node, "Constant")}


def subgraphs_of(graph: ir.Graph, target: Target) -> int:
    """Count the subgraphs that a target runs of a graph in topological order."""
    return count_subgraphs(graph, {node: reason is None for node, reason in refusals(graph, target).items()})


def count_subgraphs(graph: ir.Graph, taken: Mapping[ir.Node, bool]) -> int:
    """Count the subgraphs that the nodes of the provider form.

    A subgraph runs as a whole. Two adjacent nodes are therefore in the same subgraph unless a path between
    them leaves the provider and comes back.

    Parameters
    ----------
    graph : onnx_ir.Graph
        In topological order.
    taken : mapping of Node to bool
        Nodes that are missing, such as constants, are transparent.
    """
    depth: dict[ir.Node, int] = {}
    for node in graph:
        if node in taken:
            before = [parent for parent in node.predecessors() if parent in depth]
            depth[node] = max((_depth_behind(parent, node, depth, taken) for parent in before), default=0)
    accelerated = [node for node in depth if taken[node]]
    return _components(accelerated, depth)


def _depth_behind(
    parent: ir.Node, node: ir.Node, depth: Mapping[ir.Node, int], taken: Mapping[ir.Node, bool]
) -> int:
    """Return how often a path to the node has left the provider and come back."""
    return depth[parent] + (taken[node] and not taken[parent])


def _components(nodes: Collection[ir.Node], depth: Mapping[ir.Node, int]) -> int:
    members, count = set(nodes), 0
    while members:
        count += 1
        waiting = [members.pop()]
        while waiting:
            node = waiting.pop()
            for other in [*node.predecessors(), *node.successors()]:
                if other in members and depth[other] == depth[node]:
                    members.remove(other)
                    waiting.append(other)
    return count
