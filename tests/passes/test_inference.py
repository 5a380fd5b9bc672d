"""Shapes read back in part are those that onnx_ir reads back; folding still learns the rest."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx_ir.passes import common

from tests import models
from tests.passes.build import assert_same, build
from xslim.graph.garbage import collector_paused
from xslim.graph.io import load_model, to_proto
from xslim.graph.ops import static_shape
from xslim.passes.folding import fold_constants, infer_shapes
from xslim.passes.preparation import prepare

_BRANCHES = build(
    """g (bool c, float[2,3] x) => (float[2,3] y) {
        y = If <then_branch = t () => (float[2,3] a) { n = Neg(x) a = Relu(n) },
                else_branch = e () => (float[2,3] b) { b = Abs(x) }> (c) }"""
)
_UNKNOWN = build(
    "g (float[2,3] x) => (float[2,3] y) { a = local.Own(x)  y = Relu(a) }",
    functions="""<domain: "local", opset_import: ["" : 17]> Own (p) => (q) { q = Neg(p) }""",
)
_SEQUENCE = build(
    "g (float[2,3] x) => (float[2,3] y) { s = SequenceConstruct(x)  y = SequenceAt(s, i) }",
    i=np.array(0, np.int64),
)
_COMPUTED = build(
    """g (float[N,8] x) => (float[A,B] y) {
        s = Shape(x)  b = Gather<axis=0>(s, at)  u = Unsqueeze(b, axes)  t = Concat<axis=0>(u, rest)
        r = Reshape(x, t)  y = Relu(r) }""",
    at=np.array(1, np.int64),
    axes=np.array([0]),
    rest=np.array([-1]),
)
MODELS = {
    "convolutions": models.conv_net(),
    "an unknown batch": models.residual_net(batch="N"),
    "attention of unknown length": models.token_net(),
    "branches": _BRANCHES,
    "functions": _UNKNOWN,
    "sequences": _SEQUENCE,
    "computed sizes": _COMPUTED,
}


@pytest.mark.parametrize("name", MODELS)
def test_the_shapes_are_those_that_onnx_infers(name: str) -> None:
    model = load_model(MODELS[name])
    by_library = model.clone()
    constants = list(model.graph.initializers)
    infer_shapes(model)
    common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(by_library)
    assert list(model.graph.initializers) == constants
    assert [value.name for value in model.graph.inputs] == [value.name for value in by_library.graph.inputs]
    pairs = zip(model.graph.all_nodes(), by_library.graph.all_nodes(), strict=True)
    for ours, theirs in pairs:
        for value, other in zip(ours.outputs, theirs.outputs, strict=True):
            # `infer_shapes` corrects the type of sequences.
            if ours.op_type != "SequenceConstruct":
                assert (value.shape, value.dtype) == (other.shape, other.dtype)


def test_a_shape_that_was_wrong_is_replaced_and_a_known_one_stays() -> None:
    model = load_model(MODELS["an unknown batch"])
    infer_shapes(model)
    before = [value.shape for node in model.graph for value in node.outputs]
    infer_shapes(model)
    after = [value.shape for node in model.graph for value in node.outputs]
    assert before == after
    assert static_shape(model.graph.outputs[0]) is None


def test_a_model_that_onnx_refuses_stays_as_it_is() -> None:
    proto = build("g (float[2,3] x) => (float[2,3] y) { y = Relu(x) }")
    model = load_model(proto)
    model.opset_imports[""] = 10_000
    infer_shapes(model)
    assert [node.op_type for node in model.graph] == ["Relu"]
    assert [value.name for value in model.graph.inputs] == ["x"]


def test_a_node_with_constant_inputs_is_folded_whatever_is_known() -> None:
    proto = build(
        "g (float[2,3] x) => (float[2,3] y) { a = Add(c, d)  b = Mul(a, d)  y = Add(x, b) }",
        c=np.ones((2, 3), np.float32),
        d=np.full((2, 3), 2.0, np.float32),
    )
    model = load_model(proto)
    infer_shapes(model)
    assert fold_constants(model)
    assert [node.op_type for node in model.graph] == ["Add"]
    assert not fold_constants(model)
    assert_same(proto, to_proto(model))


def test_folding_infers_sizes_that_follow_from_folded_constants() -> None:
    model = load_model(_COMPUTED)
    for node in model.graph:
        for value in node.outputs:
            value.shape = None
    fold_constants(model)
    reshape = next(node for node in model.graph if node.op_type == "Reshape")
    assert reshape.outputs[0].shape is not None
    assert len(reshape.outputs[0].shape) == 2


def test_folding_writes_no_names_of_other_values_into_the_model() -> None:
    proto = build(
        "g (float[2,3] x) => (float[2,3] y) { a = Neg(c)  y = Add(x, a) }", c=np.ones((2, 3), np.float32)
    )
    model = load_model(proto)
    fold_constants(model)
    assert all(not value.metadata_props for value in model.graph.initializers.values())


def _fail_while_paused() -> None:
    with collector_paused():
        assert not gc.isenabled()
        raise ValueError("stop")


@pytest.mark.parametrize("switch", [gc.enable, gc.disable])
def test_preparation_leaves_the_garbage_collector_as_it_was(switch: Callable[[], None]) -> None:
    before = gc.isenabled()
    try:
        switch()
        wanted = gc.isenabled()
        prepare(load_model(models.conv_net()))
        assert gc.isenabled() == wanted
        with pytest.raises(ValueError, match="stop"):
            _fail_while_paused()
        assert gc.isenabled() == wanted
    finally:
        (gc.enable if before else gc.disable)()


def _cut_off(proto: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    del copy.graph.value_info[:]
    return copy


def test_constants_of_few_elements_are_used_for_inference() -> None:
    model = load_model(_cut_off(_COMPUTED))
    infer_shapes(model)
    shape = next(node for node in model.graph if node.op_type == "Concat").outputs[0]
    assert static_shape(shape) == (2,)


@pytest.mark.parametrize("name", MODELS)
def test_folding_is_the_same_with_another_version_of_onnxscript(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def folded() -> list[tuple[str, list[str | None]]]:
        model = load_model(MODELS[name])
        fold_constants(model)
        return [(node.op_type, [value.name for value in node.outputs]) for node in model.graph]

    expected = folded()
    # Importing this module then raises ImportError, as if onnxscript had moved what the folder is made of.
    monkeypatch.setitem(sys.modules, "xslim.passes.folder", None)
    assert folded() == expected
