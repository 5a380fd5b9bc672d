"""Small edits of one graph: new nodes and constants, with names that never clash."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.ops import new_constant
from xslim.graph.outputs import values_by_name


class GraphEditor:
    """Adds to a graph what an exporter writes.

    Parameters
    ----------
    graph : onnx_ir.Graph
        The main graph, with named nodes; edited in place.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        self._taken = {*values_by_name(graph), *(node.name for node in graph)}

    def fresh(self, wanted: str) -> str:
        """Return a name that nothing in the graph has, `wanted` if possible, and reserve it."""
        name, count = wanted, 1
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
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
        """Register a new initializer whose contents are computed whenever somebody asks for them."""
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
        before: ir.Node,
        domain: str = "",
        attributes: Mapping[str, Any] | None = None,
    ) -> list[ir.Value]:
        """Insert a node before another one; return its outputs."""
        added = ir.node(op_type, inputs, attributes, domain=domain, num_outputs=len(outputs))
        added.name = self.fresh(f"{outputs[0]}_{op_type}")
        for value, name in zip(added.outputs, outputs, strict=True):
            value.name = self.fresh(name)
        self.graph.insert_before(before, added)
        return list(added.outputs)

    def replace(self, node: ir.Node, results: Sequence[ir.Value | None]) -> None:
        """Let `results` take the places and the names of the outputs of `node`, and remove the node.

        The nodes that compute `results` stand before it. None stands for an output that nobody reads.
        """
        for old, new in zip(node.outputs, results, strict=False):
            if new is None or not old.name:
                continue
            name, old.name = old.name, None
            new.name, new.type, new.shape = name, old.type, old.shape
            ir.convenience.replace_all_uses_with(old, new, replace_graph_outputs=True)
        self.graph.remove(node, safe=True)

    def drop_unused_initializers(self) -> None:
        """Remove initializers that nothing reads any more."""
        for name, value in list(self.graph.initializers.items()):
            if not value.uses() and not value.is_graph_output() and not value.is_graph_input():
                del self.graph.initializers[name]
