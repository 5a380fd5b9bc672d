"""Small files that would expand to huge models are refused or left as they are."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import parser

from tests.passes.build import build, draw, operators
from xslim.errors import ConfigError, ModelError
from xslim.graph.io import load_model
from xslim.passes.folding import fold_constants, infer_shapes


def calling(depth: int, first: str) -> onnx.ModelProto:
    """Functions each of which calls the one before it twice."""
    model = build("g (float[4] x) => (float[4] y) { y = Relu(x) }")
    bodies = [f"f0 (x) => (y) {{ y = {first} }}"]
    bodies += [f"f{i} (x) => (y) {{ t = l.f{i - 1}(x) y = l.f{i - 1}(t) }}" for i in range(1, depth)]
    header = '<domain: "l", opset_import: ["" : 17, "l" : 1]>'
    model.functions.extend(parser.parse_function(f"{header} {body}") for body in bodies)
    model.graph.node[0].op_type, model.graph.node[0].domain = f"f{depth - 1}", "l"
    model.opset_import.append(onnx.helper.make_opsetid("l", 1))
    return model


def test_functions_that_expand_without_bound_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_model(calling(10, "Relu(x)"))
    with pytest.raises(ModelError, match="more than 1000000 nodes"):
        load_model(calling(60, "Relu(x)"))
    with pytest.raises(ModelError, match=r"function l\.f0 calls itself"):
        load_model(calling(1, "l.f0(x)"))
    with pytest.raises(ModelError, match="calls itself"):
        load_model(calling(3, "l.f2(x)"))
    monkeypatch.setenv("XSLIM_MAX_NODES", "100")
    with pytest.raises(ModelError, match="more than 100 nodes"):
        load_model(calling(10, "Relu(x)"))
    monkeypatch.setenv("XSLIM_MAX_NODES", "many")
    with pytest.raises(ConfigError, match="not a positive whole number"):
        load_model(calling(1, "Relu(x)"))


HUGE = {
    "ConstantOfShape": ("ConstantOfShape(s)", {"s": np.array([1 << 40, 1 << 10])}),
    "Expand": ("Expand(w, s)", {"w": draw(1, 4), "s": np.array([1 << 40, 4])}),
    "MatMul": ("MatMul(w, v)", {"w": draw(1 << 16, 1), "v": draw(1, 1 << 16)}),
    "Pad": ("Pad(w, s)", {"w": draw(4), "s": np.array([1 << 40, 1 << 40])}),
    "Range": ("Range(a, b, c)", {"a": np.float32(0), "b": np.float32(1e12), "c": np.float32(1)}),
    "Tile": ("Tile(w, s)", {"w": draw(4, 4), "s": np.array([1 << 20, 1 << 20])}),
    "OneHot": ("OneHot(i, d, w)", {"i": np.arange(100), "d": np.array([1 << 40]), "w": draw(2)}),
}


@pytest.mark.parametrize("operator", HUGE)
def test_a_huge_result_is_not_computed(operator: str) -> None:
    text, weights = HUGE[operator]
    inits = [onnx.numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    graph = parser.parse_graph(f"g (float[1] x) => (float y) {{ k = {text} m = ReduceMax(k) y = Add(m, x) }}")
    graph.initializer.extend(inits)
    model = load_model(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)]))
    fold_constants(model)
    assert operators(model)[operator] == 1


def test_many_results_share_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [f"k{i} = Expand(w, s) a{i + 1} = Add(a{i}, k{i})" for i in range(20)]
    text = f"g (float[1] a0) => (float[] a20) {{ {' '.join(lines)} }}"
    model = load_model(build(text, w=draw(1), s=np.array([256, 512])))
    infer_shapes(model)
    monkeypatch.setenv("XSLIM_FOLD_MB", "4")
    fold_constants(model)
    assert operators(model)["Expand"] == 12  # eight results of half a megabyte fit


def unchecked(text: str, **weights: np.ndarray) -> onnx.ModelProto:
    """A model that no library has looked at: some would never return from it."""
    graph = parser.parse_graph(text)
    graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])


SOURCES = {
    "constant": ("", {"k": np.ones(4, np.float32)}),
    "whole numbers": ("", {"k": np.ones(1, np.int64)}),
    "shape": ("k = Shape (x)", {}),
    "product of shapes": ("s = Shape (x) k = Mul (s, s)", {}),
}


def doubling(source: str, times: int) -> onnx.ModelProto:
    first, weights = SOURCES[source]
    lines = [f"k{i + 1} = Concat <axis = 0> (k{i}, k{i})" for i in range(times)]
    text = f"{first} k0 = Identity (k) {' '.join(lines)} c = Cast <to = 1> (k{times})"
    text = f"g (float[rows, 4] x) => (float[rows, 4] y) {{ {text} m = ReduceMax (c) y = Add (x, m) }}"
    return unchecked(text, **weights)


@pytest.mark.parametrize("source", SOURCES)
def test_constants_that_double_are_refused(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_model(doubling(source, 10))
    with pytest.raises(ModelError, match="grow beyond 256 MB"):
        load_model(doubling(source, 40))
    monkeypatch.setenv("XSLIM_FOLD_MB", "1")
    with pytest.raises(ModelError, match="XSLIM_FOLD_MB"):
        load_model(doubling(source, 20))


def test_constants_that_double_in_a_function_or_a_branch_are_refused() -> None:
    lines = " ".join(f"k{i + 1} = Concat <axis = 0> (k{i}, k{i})" for i in range(40))
    model = unchecked("g (float[4] x) => (float[4] y) { y = Relu (x) }")
    header = '<domain: "l", opset_import: ["" : 17]>'
    model.functions.append(parser.parse_function(f"{header} f (k0) => (y) {{ {lines} y = Identity (k40) }}"))
    model.opset_import.append(onnx.helper.make_opsetid("l", 1))
    with pytest.raises(ModelError, match="grow beyond"):
        load_model(model)
    branch = f"g () => (float y) {{ k0 = Shape (x) {lines} c = Cast <to = 1> (k40) y = ReduceMax (c) }}"
    choice = f"y = If (b) <then_branch = {branch}, else_branch = {branch}>"
    text = f"g (bool b, float[4] x) => (float y) {{ {choice} }}"
    with pytest.raises(ModelError, match="grow beyond"):
        load_model(unchecked(text))


def test_large_weights_may_be_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XSLIM_FOLD_MB", "1")
    lines = " ".join(f"w{i + 1} = Concat <axis = 0> (w{i}, v{i})" for i in range(3))
    weights = {"w0": draw(1 << 20), **{f"v{i}": draw(1 << 20) for i in range(3)}}
    assert load_model(unchecked(f"g (float[1] x) => (float[] y) {{ {lines} y = Add (x, w3) }}", **weights))
