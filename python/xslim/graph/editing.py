"""Add nodes and constants with unique names to a graph."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.ops import body_graphs, new_constant


class GraphEditor:
    """Adds nodes and constants to a graph.

    Parameters
    ----------
    graph : onnx_ir.Graph
        Edited in place. While an editor is in use, nothing else gives new names in this graph.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self._taken = _names(graph)

    def fresh(self, wanted: str) -> str:
        """Return an unused name, `wanted` if possible, and reserve it."""
        name = _free(wanted, self._taken)
        self._taken.add(name)
        return name

    def constant(self, name: str, array: NDArray[np.generic]) -> ir.Value:
        """Register a new initializer."""
        value = new_constant(array, self.fresh(name))
        self.graph.register_initializer(value)
        return value

    def lazy_constant(
        self,
        name: str,
        compute: Callable[[], NDArray[np.generic]],
        dtype: ir.DataType,
        shape: ir.Shape,
    ) -> ir.Value:
        """Register a new initializer whose contents are computed at every access."""
        name = self.fresh(name)
        tensor = ir.LazyTensor(lambda: ir.Tensor(compute(), dtype=dtype), dtype=dtype, shape=shape, name=name)
        value = ir.Value(name=name, shape=shape, type=ir.TensorType(dtype), const_value=tensor)
        self.graph.register_initializer(value)
        return value

    def node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        outputs: Sequence[str],
        *,
        before: ir.Node | None = None,
        after: ir.Node | None = None,
        name: str | None = None,
        domain: str = "",
        attributes: Mapping[str, Any] | None = None,
    ) -> list[ir.Value]:
        """Add a node before or after another one, by default at the end; return its outputs.

        A node without a given name is named after its first output and its operator.
        """
        added = ir.node(op_type, inputs, attributes, domain=domain, num_outputs=len(outputs))
        added.name = self.fresh(name or f"{outputs[0]}_{op_type}")
        for value, output in zip(added.outputs, outputs, strict=True):
            value.name = self.fresh(output)
        if before is not None:
            self.graph.insert_before(before, added)
        elif after is not None:
            self.graph.insert_after(after, added)
        else:
            self.graph.append(added)
        return list(added.outputs)

    def replace(self, node: ir.Node, results: Sequence[ir.Value | None]) -> None:
        """Replace the outputs of `node` by `results`, which get the outputs' names, and remove the node.

        The nodes that compute `results` must be before it. A None stands for an output that is not read.
        """
        for old, new in zip(node.outputs, results, strict=False):
            if new is None or not old.name:
                continue
            name, old.name = old.name, None
            new.name, new.type, new.shape = name, old.type, old.shape
            ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        self.graph.remove(node, safe=True)

    def take_place(self, value: ir.Value, new: ir.Value, aside: str) -> None:
        """Give `new` the name of `value` and its place among the outputs; rename `value` to `aside`."""
        name = value.name
        value.name = self.fresh(aside)
        new.name = name
        for index, output in enumerate(self.graph.outputs):
            if output is value:
                self.graph.outputs[index] = new

    def drop_unused_initializers(self) -> None:
        """Remove initializers that nothing reads any more."""
        for name, value in list(self.graph.initializers.items()):
            if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
                del self.graph.initializers[name]


def fresh_name(node: ir.Node, wanted: str) -> str:
    """Return a name that is unused in the node's graph, `wanted` if possible.

    For several names, use a `GraphEditor`, which reads the graph only once.
    """
    return wanted if node.graph is None else _free(wanted, _names(node.graph))


def _free(wanted: str, taken: Container[str]) -> str:
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    return name


def _names(graph: ir.Graph | ir.Function) -> set[str]:
    """Names of values and nodes in a graph and in the graphs nested in it."""
    names: set[str | None] = set()
    waiting: list[ir.Graph | ir.Function] = [graph]
    while waiting:
        part = waiting.pop()
        names.update(value.name for value in part.inputs)
        if isinstance(part, ir.Graph):
            names.update(part.initializers)
        for node in part:
            names.add(node.name)
            names.update(output.name for output in node.outputs)
            waiting.extend(body for item in node.attributes.values() for body in body_graphs(item))
    return {name for name in names if name}
