"""How an execution provider cuts a graph up: which nodes it takes, and into how many subgraphs they fall."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx_ir as ir

from xslim.graph.ops import is_standard
from xslim.targets import Target


def refusals(graph: ir.Graph, target: Target) -> dict[ir.Node, str | None]:
    """Say of every node but constants why the target does not take it; None if it does."""
    return {node: target.refusal(node) for node in graph if not is_standard(node, "Constant")}


def count_subgraphs(graph: ir.Graph, taken: Mapping[ir.Node, bool]) -> int:
    """Count the subgraphs into which the taken nodes fall.

    Two neighbours belong together unless some path between them leaves the provider and comes back: a
    subgraph has to be computed in one go.

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
    """Number of times that a path has returned to the provider."""
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
