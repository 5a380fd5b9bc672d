"""New names are unique in the whole graph, and an editor inserts its nodes at the right place."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from xslim.graph.editing import GraphEditor, fresh_name

TAKEN = ("image", "weight", "product", "multiply", "choose", "chosen", "inner_input", "inner", "inner_node")
"""An input, an initializer, a node's output and a node, and the same in a graph nested in another node."""


def _graph() -> ir.Graph:
    image = ir.Value(name="image", shape=ir.Shape([2]), type=ir.TensorType(ir.DataType.FLOAT))
    weight = ir.Value(name="weight", const_value=ir.tensor(np.ones(2, np.float32)))
    multiply = ir.node("Mul", [image, weight], name="multiply")
    multiply.outputs[0].name = "product"
    given = ir.Value(name="inner_input")
    inside = ir.node("Relu", [given], name="inner_node")
    inside.outputs[0].name = "inner"
    nested = ir.Graph([given], inside.outputs, nodes=[inside], name="nested")
    choose = ir.node("Loop", [None, None, multiply.outputs[0]], {"body": nested}, name="choose")
    choose.outputs[0].name = "chosen"
    return ir.Graph([image], choose.outputs, nodes=[multiply, choose], initializers=[weight], name="main")


@pytest.mark.parametrize("name", TAKEN)
def test_a_taken_name_is_given_to_nobody(name: str) -> None:
    graph = _graph()
    assert fresh_name(graph[0], name) == f"{name}_2"
    editor = GraphEditor(graph)
    assert [editor.fresh(name), editor.fresh(name)] == [f"{name}_2", f"{name}_3"]


def test_a_free_name_stays_as_it_is() -> None:
    graph = _graph()
    assert fresh_name(graph[0], "bias") == "bias"
    assert fresh_name(ir.node("Relu", []), "bias") == "bias"
    assert GraphEditor(graph).constant("product", np.zeros(1)).name == "product_2"


@pytest.mark.parametrize(
    ("place", "order"),
    [
        ("before", ["new", "multiply", "choose"]),
        ("after", ["multiply", "new", "choose"]),
        (None, ["multiply", "choose", "new"]),
    ],
)
def test_a_node_stands_where_it_is_asked_to(place: str | None, order: list[str]) -> None:
    graph = _graph()
    where = {} if place is None else {place: graph[0]}
    GraphEditor(graph).node("Relu", [graph.inputs[0]], ["positive"], name="new", **where)
    assert [node.name for node in graph] == order


def test_a_value_takes_name_and_place_of_an_output() -> None:
    graph = _graph()
    old = graph.outputs[0]
    editor = GraphEditor(graph)
    [new] = editor.node("Identity", [old], ["copy"])
    editor.take_place(old, new, "product")
    assert (old.name, new.name) == ("product_2", "chosen")
    assert list(graph.outputs) == [new]
