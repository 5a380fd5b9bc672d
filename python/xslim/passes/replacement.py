"""Replace operators by other operators according to a table."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.tape import Tape

from xslim.graph.editing import fresh_name
from xslim.graph.ops import new_constant, opset, rank
from xslim.passes.rules.base import Refusal
from xslim.passes.tidy import unique_names

logger = logging.getLogger(__name__)

SIZES_AS_INPUT = 13
"""The first opset in which the sizes of Split are an input."""


class Maker:
    """Makes the nodes that replace a node.

    Parameters
    ----------
    node : onnx_ir.Node
        The node to replace.
    version : int
        The opset of the model.
    """

    def __init__(self, node: ir.Node, version: int) -> None:
        self.node, self.version = node, version
        self.tape = Tape()
        self.constants: list[ir.Value] = []

    def op(self, op_type: str, *inputs: ir.Value | None, domain: str = "", **attributes: Any) -> ir.Value:
        """Add a node and return its output, which has the element type of the first input."""
        made = self.tape.op(op_type, inputs, attributes or None, domain=domain)
        made.type = next((value.type for value in inputs if value is not None), None)
        self._name(made)
        return made

    def _name(self, made: ir.Value) -> None:
        node = made.producer()
        assert node is not None
        node.name = f"{self.node.name}.{node.op_type}.{len(self.tape.nodes)}"

    def split(self, value: ir.Value, sizes: Sequence[int]) -> Sequence[ir.Value]:
        """Split a value along the last axis into parts of these sizes."""
        inputs: list[ir.Value] = [value]
        attributes: dict[str, int | Sequence[int]] = {"axis": -1}
        if self.version >= SIZES_AS_INPUT:
            inputs.append(self.constant(np.array(sizes)))
        else:
            attributes["split"] = list(sizes)
        parts = self.tape.op_multi_out("Split", inputs, attributes, num_outputs=len(sizes))
        self._name(parts[0])
        return parts

    def given(self, position: int) -> ir.Value | None:
        """Return the input at a position, or None."""
        return self.node.inputs[position] if position < len(self.node.inputs) else None

    def needed(self, position: int) -> ir.Value:
        """Return the input at a position; refuse if it is missing or its type is unknown."""
        value = self.given(position)
        if value is None or value.dtype is None:
            raise Refusal(f"input {position} is missing or of unknown type")
        return value

    def rank(self, value: ir.Value) -> int:
        """Return the number of dimensions; refuse if it is unknown."""
        found = rank(value)
        if found is None:
            raise Refusal(f"the rank of {value.name} is unknown")
        return found

    def flag(self, name: str) -> bool:
        """Whether the node has the attribute and it is not zero."""
        return bool(self.node.attributes.get_int(name))

    def attributes(self, *left_out: str) -> dict[str, Any]:
        """Return the attributes of the node except those in `left_out`."""
        return {name: item.value for name, item in self.node.attributes.items() if name not in left_out}

    def number(self, number: float, like: ir.Value) -> ir.Value:
        """Make a constant of the type of another value."""
        assert like.dtype is not None
        return self.constant(np.array(number, like.dtype.numpy()))

    def constant(self, array: NDArray[Any]) -> ir.Value:
        """Make a constant; `replace_operators` registers it with the graph."""
        name = fresh_name(self.node, f"{self.node.outputs[0].name}.constant{len(self.constants)}")
        self.constants.append(new_constant(array, name))
        return self.constants[-1]

    def require_unused(self, *positions: int) -> None:
        """Refuse if one of these outputs is read."""
        for output in self.node.outputs:
            if output.index() in positions and (output.uses() or output.is_graph_output()):
                raise Refusal(f"output {output.name} is read")


Make = Callable[[Maker], Sequence[ir.Value | None]]


@dataclass(frozen=True)
class Replacement:
    """How an operator is replaced.

    Attributes
    ----------
    make : callable
        Makes the new nodes and returns the values of the outputs in order. It raises `Refusal` if the node
        must stay.
    below : int or None
        The first opset whose standard has the same operator; from that opset on the node stays.
    packed : bool
        Whether the operator contains weights; it is replaced only if the weights can become int8.
    """

    make: Make
    below: int | None = None
    packed: bool = False


Table = Mapping[tuple[str, str], Replacement]
"""Replacements by domain and operator type."""


def replace_operators(model: ir.Model, table: Table, *, unpack: bool) -> Counter[str]:
    """Replace the operators of a table in all graphs; return the number of replacements by operator.

    Parameters
    ----------
    model : onnx_ir.Model
        Changed in place; types should be known.
    table : mapping
        The replacements.
    unpack : bool
        Whether operators that contain weights are replaced as well.
    """
    version, done = opset(model), Counter[str]()
    for graph in model.graphs():
        for node in graph:
            found = table.get((node.domain, node.op_type))
            if found is None or node.op_identifier() in model.functions or (found.packed and not unpack):
                continue
            if found.below is not None and version >= found.below:
                continue
            maker = Maker(node, version)
            try:
                made = found.make(maker)
            except Refusal as reason:
                logger.debug("%s stays: %s", node.name or node.op_type, reason)
                continue
            _replace(graph, maker, made)
            done[node.op_type] += 1
    if done:
        unique_names(model)
    return done


def _replace(graph: ir.Graph, maker: Maker, made: Sequence[ir.Value | None]) -> None:
    for value in maker.constants:
        graph.register_initializer(value)
    nodes = list(maker.tape.nodes)
    # The last new node keeps the name, which users may have put in their configuration.
    nodes[-1].name = maker.node.name
    pairs = [
        (old, new) for old, new in zip(maker.node.outputs, made, strict=False) if new is not None and old.name
    ]
    ir.convenience.replace_nodes_and_values(
        graph, maker.node, [maker.node], nodes, [old for old, _ in pairs], [new for _, new in pairs]
    )
