"""A model whose discontinuous and random operators are replaced by their values in another model."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from xslim.graph.outputs import values_by_name

# fmt: off
JUMPS = frozenset(
    (
        "ArgMax", "ArgMin", "BitShift", "Ceil", "Compress", "Equal", "Floor", "Greater",
        "GreaterOrEqual", "Hardmax", "IsInf", "IsNaN", "Less", "LessOrEqual", "Mod",
        "NonMaxSuppression", "NonZero", "QuantizeLinear", "DynamicQuantizeLinear", "Round", "Sign",
        "TopK", "Unique", "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike",
        "RandomUniform", "RandomUniformLike", "Dropout", "BeamSearch", "GreedySearch", "Sampling",
    )
)
# fmt: on
"""Operators whose result may change much when their input hardly changes, and operators of random numbers."""


@dataclass(frozen=True)
class Replay:
    """A model that gets the results of its discontinuous operators as inputs.

    Attributes
    ----------
    model : onnx_ir.Model
        The model without these operators.
    given : tuple of str
        The results of these operators, which are inputs of `model`.
    compared : tuple of str
        The tensors that can be compared: outputs, and the inputs of these operators.
    """

    model: ir.Model
    given: tuple[str, ...]
    compared: tuple[str, ...]

    @classmethod
    def of(cls, model: ir.Model, original: ir.Model, outputs: Sequence[str]) -> Replay:
        """Remove the discontinuous operators from `model` whose results also exist in the original.

        Outputs behind such an operator whose results do not exist in the original cannot be compared.
        """
        known = values_by_name(original.graph)
        model = model.clone()
        graph = model.graph
        given, read, unknown = [], [], []
        for node in list(graph):
            if not _jumps(node, model):
                continue
            used = [value for value in node.outputs if value.uses() or value.is_graph_output()]
            if any(value.name not in known for value in used):
                unknown.append(node)
                continue
            read += [value for value in node.inputs if value is not None and value.name in known]
            given += [value.name or "" for value in used]
            for value in used:
                stand_in = ir.Value(name=value.name, type=value.type)
                ir.convenience.replace_all_uses_with(value, stand_in, replace_graph_outputs=True)
                graph.inputs.append(stand_in)
            graph.remove(node, safe=True)
        values = values_by_name(graph)
        lost = _behind(graph, unknown)
        names = [*outputs, *(value.name or "" for value in read if not value.is_initializer())]
        compared = [
            name for name in dict.fromkeys(names) if name not in given and values.get(name) not in lost
        ]
        return cls(model, tuple(dict.fromkeys(given)), tuple(name for name in compared if name in values))


def _jumps(node: ir.Node, model: ir.Model) -> bool:
    if node.op_type == "Cast":
        return any(value.dtype is None or not value.dtype.is_floating_point() for value in node.outputs)
    body = model.functions.get(node.op_identifier())
    inner = list(body.all_nodes()) if body is not None else []
    for graph in _bodies(node):
        inner += graph.all_nodes()
    return node.op_type in JUMPS or any(other.op_type in JUMPS for other in inner)


def _behind(graph: ir.Graph, nodes: Collection[ir.Node]) -> set[ir.Value]:
    """Return all values of the main graph that depend on these nodes."""
    found = set[ir.Value]()
    for node in graph:
        if node in nodes or any(value in found for value in _reads(node)):
            found.update(node.outputs)
    return found


def _reads(node: ir.Node) -> Iterator[ir.Value | None]:
    """Yield the values that a node and its nested graphs read."""
    yield from node.inputs
    for body in _bodies(node):
        for inner in body.all_nodes():
            yield from inner.inputs
        yield from body.outputs


def _bodies(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
