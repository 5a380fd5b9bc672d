"""Changed copies that run from their first change on give what the whole copies give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import helper

from tests import models
from xslim.graph.io import load_model
from xslim.graph.outputs import values_by_name
from xslim.graph.remainder import cut_equal_part
from xslim.passes.folding import infer_shapes
from xslim.refinement.remainders import Changed, Remainder, Remainders
from xslim.runtime import Session

Outputs = list[list[NDArray[np.float32]]]


def loaded(proto: onnx.ModelProto) -> ir.Model:
    """Return a model whose tensors all have a type, as those of a prepared model do."""
    found = load_model(proto)
    infer_shapes(found)
    return found


def network() -> ir.Model:
    """Return a network with a branch, of which one output lies beside every change of the other."""
    nodes = [
        helper.make_node("Relu", ["x"], ["first"], name="first"),
        helper.make_node("Mul", ["first", "weight"], ["second"], name="second"),
        helper.make_node("Tanh", ["second"], ["third"], name="third"),
        helper.make_node("Add", ["third", "first"], ["y"], name="last"),
        helper.make_node("Exp", ["first"], ["aside"], name="aside"),
    ]
    outputs = {"y": [1, 8], "aside": [1, 8]}
    weights = {"weight": models.draw(3, 1, 8)}
    return loaded(models.model(nodes, {"x": [1, 8]}, outputs, weights))


def changed_behind(model: ir.Model, tensor: str) -> ir.Model:
    """Return a copy whose readers of a tensor read twice its value."""
    copy = model.clone()
    value = values_by_name(copy.graph)[tensor]
    readers = list(value.uses())
    double = ir.node("Add", [value, value], name=f"{tensor}_doubled")
    double.outputs[0].name = f"{tensor}_twice"
    double.outputs[0].type, double.outputs[0].shape = value.type, value.shape
    for use in readers:
        use.node.replace_input_with(use.idx, double.outputs[0])
    copy.graph.append(double)
    copy.graph.sort()
    return copy


def run(remainder: Remainder) -> Outputs:
    return list(remainder.session.run_all(remainder.feeds))


@pytest.mark.parametrize("tensors", [("first",), ("second", "third"), ("third", "first", "x"), ("aside",)])
def test_they_give_what_the_whole_copies_give(tensors: Sequence[str]) -> None:
    original = network()
    samples = [{"x": models.draw(seed, 1, 8)} for seed in range(3)]
    copies = [changed_behind(original, tensor) for tensor in tensors]
    outputs = ["y", "aside", "y"]
    expected = [list(Session(copy.clone(), outputs, threads=1).run_all(samples)) for copy in copies]

    changed = [Changed(copy, outputs) for copy in copies]
    found = list(Remainders(original, samples).map(run, changed))

    for whole, part in zip(expected, found, strict=True):
        for first, second in zip(whole, part, strict=True):
            np.testing.assert_allclose(first, second, rtol=1e-6)


def test_only_what_lies_behind_the_change_is_left() -> None:
    original = network()
    copy = changed_behind(original, "second")

    assert cut_equal_part(copy, original) == ["first", "second", "aside"]
    assert [node.op_type for node in copy.graph] == ["Add", "Tanh", "Add"]
    assert not copy.graph.initializers


def test_another_weight_of_the_same_name_is_a_change() -> None:
    original = network()
    copy = original.clone()
    copy.graph.initializers["weight"].const_value = ir.tensor(models.draw(9, 1, 8), name="weight")

    assert cut_equal_part(copy, original) == ["first", "aside"]


def test_a_model_with_subgraphs_stays_whole() -> None:
    branch = helper.make_graph(
        [helper.make_node("Neg", ["x"], ["inner"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", 1, None)],
    )
    nodes = [
        helper.make_node("Relu", ["x"], ["first"], name="first"),
        helper.make_node("If", ["condition"], ["y"], name="choice", then_branch=branch, else_branch=branch),
        helper.make_node("Add", ["y", "first"], ["z"], name="last"),
    ]
    proto = models.model(nodes, {"x": [1, 8]}, {"z": [1, 8]}, {"condition": np.array(True)})
    original = loaded(proto)
    copy = changed_behind(original, "y")

    assert cut_equal_part(copy, original) is None
    assert len(list(copy.graph)) == len(nodes) + 1
