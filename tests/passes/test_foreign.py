"""Operators of onnxruntime become those of the standard, and the model computes the same."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from tests.foreign import CASES, KEPT, MICROSOFT, REPLACED, WIDTH, Case, foreign
from xslim.passes import prepare
from xslim.pipeline.prepare import learn_types
from xslim.runtime import Session


@cache
def types(name: str) -> dict[str, tuple[ir.TypeProtocol | None, ir.Shape | None]]:
    """What is learnt of the values of a case; it does not depend on the opset."""
    model = ir.from_proto(CASES[name].model())
    learn_types(model)
    return {value.name or "": (value.type, value.shape) for node in model.graph for value in node.outputs}


def prepared(name: str, opset: int = 17, *, unpack: bool = False) -> onnx.ModelProto:
    model = ir.from_proto(CASES[name].model(opset))
    for node in model.graph:
        for value in node.outputs:
            value.type, value.shape = types(name)[value.name or ""]
    return ir.to_proto(prepare(model, minimum_opset=1, unpack=unpack))


def run(proto: onnx.ModelProto, case: Case) -> NDArray[Any]:
    return Session(proto.SerializeToString(), threads=1).run(case.feeds())[0]


def assert_same(found: onnx.ModelProto, name: str, opset: int = 17) -> None:
    case = CASES[name]
    expected = run(case.model(opset), case)
    np.testing.assert_allclose(run(found, case), expected, rtol=1e-4, atol=1e-5)


def domains(proto: onnx.ModelProto) -> dict[str, str]:
    return {node.op_type: node.domain for node in proto.graph.node}


@pytest.mark.parametrize("opset", [12, 23])
@pytest.mark.parametrize("name", REPLACED)
def test_replaced_operators_compute_the_same(name: str, opset: int) -> None:
    found = prepared(name, opset)
    assert set(domains(found).values()) == {""}
    onnx.checker.check_model(found, full_check=True)
    assert_same(found, name, opset)


@pytest.mark.parametrize("name", KEPT)
def test_what_the_standard_lacks_stays(name: str) -> None:
    found = prepared(name)
    assert MICROSOFT in domains(found).values()
    assert_same(found, name)


@pytest.mark.parametrize("name", ["Attention", "Attention with a mask", "Attention that is causal"])
def test_weights_of_attention_become_a_product_where_that_is_asked_for(name: str) -> None:
    found = prepared(name, unpack=True)
    assert domains(found).get("MultiHeadAttention") == MICROSOFT
    assert "Attention" not in domains(found)
    assert_same(found, name)


def test_rotary_embedding_is_standard_from_opset_23() -> None:
    found = prepared("RotaryEmbedding", 23)
    assert domains(found)["RotaryEmbedding"] == ""
    assert_same(found, "RotaryEmbedding", 23)


REFUSED = {
    "its mean is read": Case(
        [
            foreign("SkipLayerNormalization", "a x gamma beta", "n m"),
            onnx.helper.make_node("Add", ["n", "m"], ["b"]),
        ],
        CASES["SkipLayerNormalization"].weights,
    ),
    "it normalises several axes": Case(
        [onnx.helper.make_node("SimplifiedLayerNormalization", ["a", "gamma"], ["b"], axis=1)],
        {"gamma": np.ones((8, WIDTH), np.float32)},
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_said_in_the_standard_stays(case: Case) -> None:
    model = ir.from_proto(case.model())
    learn_types(model)
    before = [node.op_type for node in model.graph]
    assert [node.op_type for node in prepare(model).graph] == before


@pytest.mark.parametrize("name", CASES)
def test_every_value_has_a_type_and_a_shape(name: str) -> None:
    missing = [value for value, known in types(name).items() if value and None in known]
    assert not missing
