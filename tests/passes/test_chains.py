"""Chains of Slice, Transpose and Reshape become one node, as onnxslim would make it."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import onnxslim
import pytest

from tests.passes.build import assert_same, build
from xslim.graph.io import load_model, to_proto
from xslim.passes.chains import merge_chains
from xslim.passes.folding import infer_shapes


def _ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


_END = np.iinfo(np.int64).max
_SLICES = {
    **{"b": _ints(1), "e": _ints(_END), "first": _ints(2), "second": _ints(-1), "one": _ints(1)},
    "two": _ints(2),
}
CHAINS = {
    "slices along two axes": build(
        """g (float[N,3,8,8] x) => (float[N,3,a,c] y) {
            s = Slice(x, b, e, first, two)  t = Slice(s, b, e, second, one)  y = Relu(t) }""",
        **_SLICES,
    ),
    "one slice read by two": build(
        """g (float[1,3,8,8] x) => (float[1,3,4,7] y) {
            s = Slice(x, b, e, first, two)
            t = Slice(s, b, e, second, one)  u = Slice(s, b, e, second, one)  y = Add(t, u) }""",
        **_SLICES,
    ),
    "three slices": build(
        """g (float[1,3,8,8] x) => (float[1,2,4,7] y) {
            s = Slice(x, b, e, first, two)  t = Slice(s, b, e, second, one)
            u = Slice(t, b, e, one, one)  y = Relu(u) }""",
        **_SLICES,
    ),
    "transposition of axes of size 1 between reshapes": build(
        """g (float[1,7,7,4] x) => (float[1,49,4] y) {
            a = Reshape(x, s6)  t = Transpose<perm=[0,1,3,2,4,5]>(a)  r = Reshape(t, s3)  y = Relu(r) }""",
        s6=_ints(1, 1, 7, 1, 7, 4),
        s3=_ints(1, -1, 4),
    ),
    "the batch is kept": build(
        """g (float[N,4,2,2] x) => (float[N,16] y) {
            s = Shape(x)  n = Gather<axis=0>(s, zero)  u = Unsqueeze(n, axes)
            t = Concat<axis=0>(u, rest)  r = Reshape(x, t)  y = Relu(r) }""",
        zero=np.array(0, np.int64),
        axes=_ints(0),
        rest=_ints(-1),
    ),
}


def _merged(proto: onnx.ModelProto) -> tuple[int, ir.Model]:
    model = load_model(proto)
    infer_shapes(model)
    return merge_chains(model), model


def _nodes(proto: onnx.ModelProto) -> list[object]:
    constants = {
        tensor.name: onnx.numpy_helper.to_array(tensor).tolist() for tensor in proto.graph.initializer
    }
    return sorted(
        (node.op_type, node.name, *node.output, *(str(constants.get(name, name)) for name in node.input))
        for node in proto.graph.node
    )


@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_becomes_the_nodes_that_onnxslim_makes(name: str) -> None:
    proto = CHAINS[name]
    for index, node in enumerate(proto.graph.node):
        node.name = f"node{index}"
    made, model = _merged(proto)
    assert made
    merged = to_proto(model)
    assert_same(proto, merged)
    shaped = onnx.shape_inference.infer_shapes(proto, data_prop=True)
    unused = ["constant_folding", "subexpression_elimination", "weight_tying"]
    slimmed = onnxslim.slim(shaped, skip_optimizations=unused)
    assert _nodes(merged) == _nodes(slimmed)


LEFT = {
    "slices along the same axis": build(
        """g (float[1,3,8,8] x) => (float[1,3,3,8] y) {
            s = Slice(x, b, e, first, two)  y = Slice(s, b, e, first, one) }""",
        **_SLICES,
    ),
    "an output in between": build(
        """g (float[1,3,8,8] x) => (float[1,3,4,8] s, float[1,3,4,7] y) {
            s = Slice(x, b, e, first, two)  y = Slice(s, b, e, second, one) }""",
        **_SLICES,
    ),
    "a slice with another reader": build(
        """g (float[1,3,8,8] x) => (float[1,3,4,7] y, float[1,3,4,8] z) {
            s = Slice(x, b, e, first, two)  y = Slice(s, b, e, second, one)  z = Relu(s) }""",
        **_SLICES,
    ),
    "a computed bound": build(
        """g (float[1,3,8,8] x, int64[1] end) => (float[1,3,4,k] y) {
            s = Slice(x, b, e, first, two)  y = Slice(s, b, end, second, one) }""",
        **_SLICES,
    ),
    "a true transposition": build(
        """g (float[1,6,4] x) => (float[1,24] y) {
            t = Transpose<perm=[0,2,1]>(x)  y = Reshape(t, s) }""",
        s=_ints(1, 24),
    ),
    "a transposition without a Reshape beside it": build(
        "g (float[1,6,4] x) => (float[6,1,4] y) { t = Transpose<perm=[1,0,2]>(x)  y = Relu(t) }"
    ),
    "a size copied from the Reshape in between": build(
        "g (float[2,6,4] x) => (float[3,4,4] y) { a = Reshape(x, s)  y = Reshape(a, t) }",
        s=_ints(3, 2, 8),
        t=_ints(0, 4, 4),
    ),
    "the size of another tensor": build(
        """g (float[N,4] x, float[M,4] other) => (float[K,L] y) {
            s = Shape(other)  n = Gather<axis=0>(s, zero)  u = Unsqueeze(n, axes)
            t = Concat<axis=0>(u, rest)  y = Reshape(x, t) }""",
        zero=np.array(0, np.int64),
        axes=_ints(0),
        rest=_ints(-1),
    ),
    "two unknown sizes": build(
        """g (float[N,M,4] x) => (float[N,K] y) {
            s = Shape(x)  n = Gather<axis=0>(s, zero)  u = Unsqueeze(n, axes)
            t = Concat<axis=0>(u, rest)  y = Reshape(x, t) }""",
        zero=np.array(0, np.int64),
        axes=_ints(0),
        rest=_ints(-1),
    ),
}


@pytest.mark.parametrize("name", LEFT)
def test_other_chains_are_left_alone(name: str) -> None:
    made, model = _merged(LEFT[name])
    assert made == 0
    assert [node.op_type for node in model.graph] == [node.op_type for node in LEFT[name].graph.node]


def test_reshapes_whose_sizes_do_not_fit_are_left_to_the_runtime() -> None:
    proto = CHAINS["the batch is kept"]
    wrong = onnx.ModelProto()
    wrong.CopyFrom(proto)
    rest = next(tensor for tensor in wrong.graph.initializer if tensor.name == "rest")
    rest.CopyFrom(onnx.numpy_helper.from_array(_ints(5, -1), "rest"))
    made, _ = _merged(wrong)
    assert made == 0
