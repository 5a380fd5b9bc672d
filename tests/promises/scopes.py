"""Models with functions, names or constants that are frequent in exports and easy to rewrite wrongly."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.passes.build import draw, positive
from tests.promises.unusual import BODY, WEIGHTS, parsed

LONG = "n" * 300
BOUNDS = {f"i{number}": np.array([number], np.int64) for number in range(4)}


def part_in_branch(parts: str, last: str) -> onnx.ModelProto:
    """Two parts of an axis are read in the graph, the third in a branch."""
    text = (
        f"(float[1,3,4] x, bool c) => (float[1,3,4] y) {{ {parts} r = If (c) <"
        f"then_branch = a () => (float[1,1,4] u) {{ u = {last} }},"
        "else_branch = b () => (float[1,1,4] v) { v = Neg(s1) }> y = Concat<axis=1>(s1, s2, r) }"
    )
    weights = {name: array for name, array in BOUNDS.items() if name in parts + last}
    if "sizes" in parts:
        weights["sizes"] = np.array([1, 1, 1], np.int64)
    return parsed(text, **weights)


def gate(factor: float, operator: str = "Mul") -> onnx.ModelProto:
    """``Clip(x + 3, 0, 6)`` times or divided by a number."""
    text = f"(float[1,4] x) => (float[1,4] y) {{ a = Add(x, t) c = Clip(a, z, s) y = {operator}(c, f) }}"
    numbers = {"t": 3.0, "z": 0.0, "s": 6.0, "f": factor}
    return parsed(text, **{name: np.array(number, np.float32) for name, number in numbers.items()})


def clipped(low: float, high: float) -> onnx.ModelProto:
    """A Clip between two products."""
    text = "(float[1,8] x) => (float[1,4] y) { m = MatMul(x, w1) r = Clip(m, a, b) y = MatMul(r, w2) }"
    bounds = {"a": np.array(low, np.float32), "b": np.array(high, np.float32)}
    return parsed(text, **bounds, **WEIGHTS)


def divided(divisor: float) -> onnx.ModelProto:
    """A product divided by a number."""
    text = "(float[1,8] x) => (float[1,16] y) { m = MatMul(x, w1) y = Div(m, d) }"
    return parsed(text, w1=WEIGHTS["w1"], d=np.array(divisor, np.float32))


def captured_in_branches() -> onnx.ModelProto:
    """Both branches read one weight of the graph outside."""
    return parsed(
        "(float[1,8] x, bool c) => (float[1,16] y) { r = If (c) <"
        "then_branch = a () => (float[1,16] u) { u = MatMul(x, w1) },"
        "else_branch = b () => (float[1,16] v) { m = MatMul(x, w1) v = Relu(m) }> y = Neg(r) }",
        w1=WEIGHTS["w1"],
    )


def captured_in_loop() -> onnx.ModelProto:
    """The body of a loop reads weights of the graph outside."""
    return parsed(
        "(float[1,8] x, int64 n) => (float[1,8] y) { y = Loop (n, t, x) <"
        "body = b (int64 i, bool c, float[1,8] a) => (bool c2, float[1,8] o)"
        "{ c2 = Identity(c) m = MatMul(a, w) o = Add(m, k) }> }",
        w=draw(8, 8),
        k=draw(8),
        t=np.array(True),
    )


def shared_inside_and_outside() -> onnx.ModelProto:
    """One weight is read in the graph, where it could be folded into, and in a branch."""
    return parsed(
        "(float[1,8] x, bool c) => (float[1,8] y) { z = MatMul(x, w) s = Mul(z, g) r = If (c) <"
        "then_branch = a () => (float[1,8] u) { u = MatMul(s, w) },"
        "else_branch = b () => (float[1,8] v) { v = Add(s, k) }> y = Add(r, k) }",
        w=draw(8, 8),
        k=draw(8),
        g=positive(8),
    )


def tied(head: str) -> onnx.ModelProto:
    """An embedding whose table is the weight of the last product too."""
    text = f"(int64[5] x) => (float[5,20] y) {{ e = Gather(E, x) n = Relu(e) s = Mul(n, g) {head} }}"
    return parsed(text, E=draw(20, 8), g=positive(8))


def shadowed() -> onnx.ModelProto:
    """Values of both branches have the same names, and one of them that of the result."""
    return parsed(
        "(float[1,8] x, bool c) => (float[1,8] y) { w = Relu(x) r = If (c) <"
        "then_branch = a () => (float[1,8] o) { t = Neg(w) o = Abs(t) },"
        "else_branch = b () => (float[1,8] o) { t = Abs(w) o = Neg(t) }> y = Add(r, w) }"
    )


def named(name: str) -> onnx.ModelProto:
    """Every node has this name."""
    model = parsed(BODY, **WEIGHTS)
    for node in model.graph.node:
        node.name = name
    return model


def long_names() -> onnx.ModelProto:
    """Values with names of 300 letters that differ in the last."""
    text = f"(float[1,8] x) => (float[1,4] y) {{ {LONG}a = MatMul(x, {LONG}w) {LONG}b = Relu({LONG}a)"
    model = parsed(f"{text} y = MatMul({LONG}b, w2) }}", **{f"{LONG}w": WEIGHTS["w1"], "w2": WEIGHTS["w2"]})
    for number, node in enumerate(model.graph.node):
        node.name = f"{LONG}{number}"
    return model


def early_norm(opset: int, operator: str = "LayerNormalization") -> onnx.ModelProto:
    """A normalisation in an opset that does not have it, as onnxruntime's optimiser wrote it."""
    model = parsed(
        "(float[1,8] x) => (float[1,16] y) { m = MatMul(x, w1) }",
        f'"" : {opset}',
        6,
        w1=WEIGHTS["w1"],
        g=positive(16),
    )
    model.graph.node.append(helper.make_node(operator, ["m", "g"], ["y"], axis=-1, epsilon=1e-5))
    return model


def without_shape(*, of: str = "output") -> onnx.ModelProto:
    """An output without a shape, or without a type."""
    model = parsed(BODY, **WEIGHTS)
    if of == "output":
        model.graph.output[0].type.tensor_type.ClearField("shape")
    else:
        model.graph.output[0].ClearField("type")
    return model


def machine_learning(operator: str) -> onnx.ModelProto:
    """A model with one operator of ai.onnx.ml and no other operator set."""
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8])]
    attributes: dict[str, object] = {"norm": "L2"}
    if operator == "LinearClassifier":
        outputs = [
            helper.make_tensor_value_info("l", TensorProto.INT64, [1]),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2]),
        ]
        attributes = {"coefficients": [0.1] * 16, "intercepts": [0.0, 1.0], "classlabels_ints": [0, 1]}
    node = helper.make_node(
        operator, ["x"], [value.name for value in outputs], domain="ai.onnx.ml", **attributes
    )
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])], outputs
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("ai.onnx.ml", 2)], ir_version=8)


SLICES = "s1 = Slice(x, i0, i1, i1) s2 = Slice(x, i1, i2, i1)"
MODELS = {
    "branch: a slice": part_in_branch(SLICES, "Slice(x, i2, i3, i1)"),
    "branch: a part of Split": part_in_branch("s1, s2, s3 = Split<axis = 1>(x, sizes)", "Relu(s3)"),
    "branch: captured weight": captured_in_branches(),
    "branch: weight inside and outside": shared_inside_and_outside(),
    "branch: equal names": shadowed(),
    "loop: captured weights": captured_in_loop(),
    "gate: times 0": gate(0.0),
    "gate: times 1/6": gate(1 / 6),
    "gate: times -1": gate(-1.0),
    "gate: divided by 1e-40": gate(1e-40, "Div"),
    "clip: low above high": clipped(1.0, -1.0),
    "clip: low equals high": clipped(0.5, 0.5),
    "clip: infinite": clipped(-np.inf, np.inf),
    "divisor: reciprocal overflows": divided(1e-39),
    "divisor: reciprocal vanishes": divided(3e38),
    "tied: Gemm": tied("y = Gemm<transB = 1>(s, E)"),
    "tied: Transpose and MatMul": tied("t = Transpose<perm = [1, 0]>(E) y = MatMul(s, t)"),
    "names: equal": named("same"),
    "names: equal and long": named(LONG),
    "names: long": long_names(),
    "norm: opset 11": early_norm(11),
    "norm: opset 12": early_norm(12),
    "norm: opset 16": early_norm(16),
    "norm: never standard": early_norm(12, "SimplifiedLayerNormalization"),
    "output: no shape": without_shape(),
    "output: no type": without_shape(of="type"),
    "ai.onnx.ml: Normalizer": machine_learning("Normalizer"),
    "ai.onnx.ml: LinearClassifier": machine_learning("LinearClassifier"),
}
