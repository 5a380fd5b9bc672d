"""Small files that stand for large models: refused, or left as they are."""

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
