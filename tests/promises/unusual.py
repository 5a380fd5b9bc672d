"""Builders of models that runtimes accept and that readers often refuse, one builder for each kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, parser

from tests.passes.build import draw

BODY = "(float[1,8] x) => (float[1,4] y) { m = MatMul(x, w1) r = Relu(m) y = MatMul(r, w2) }"
WEIGHTS = {"w1": draw(8, 16), "w2": draw(16, 4)}
LABELS = np.array(["cat", "cow", "", "Hündin"], object)


def parsed(text: str, imports: str = '"" : 17', ir: int = 8, **weights: NDArray[Any]) -> onnx.ModelProto:
    """Parse a graph in ONNX text and give it initializers."""
    model = parser.parse_model(f"<ir_version: {ir}, opset_import: [{imports}]> g {text}")
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    return model


def sparse(array: NDArray[Any], name: str, *, flat: bool) -> onnx.SparseTensorProto:
    """The array as a sparse tensor, its indices in either of the two allowed forms."""
    where = np.flatnonzero(array) if flat else np.argwhere(array)
    values = numpy_helper.from_array(array[array != 0], name)
    return helper.make_sparse_tensor(values, numpy_helper.from_array(where.astype(np.int64)), array.shape)


def with_sparse(*, flat: bool = True, listed: bool = False, empty: bool = False) -> onnx.ModelProto:
    """The first weight is a sparse initializer."""
    model = parsed(BODY, w2=WEIGHTS["w2"])
    thin = np.where(WEIGHTS["w1"] > (np.inf if empty else 0.3), WEIGHTS["w1"], np.float32(0))
    model.graph.sparse_initializer.append(sparse(thin, "w1", flat=flat))
    if listed:
        model.graph.input.append(helper.make_tensor_value_info("w1", TensorProto.FLOAT, thin.shape))
    return model


def with_sparse_constant() -> onnx.ModelProto:
    """The first weight is a Constant node with a sparse value."""
    model = parsed(BODY, w2=WEIGHTS["w2"])
    thin = np.where(WEIGHTS["w1"] > 0.3, WEIGHTS["w1"], np.float32(0))
    node = helper.make_node("Constant", [], ["w1"], sparse_value=sparse(thin, "", flat=True))
    model.graph.node.insert(0, node)
    return model


def with_sparse_in_branch() -> onnx.ModelProto:
    """A branch has a sparse initializer."""
    model = parsed(
        "(float[1,8] x, bool c) => (float[1,8] y) { r = Relu(x) y = If (c) <"
        "then_branch = a () => (float[1,8] u) { u = Add(r, k) },"
        "else_branch = b () => (float[1,8] v) { v = Neg(r) }> }"
    )
    branch = next(item.g for item in model.graph.node[1].attribute if item.name == "then_branch")
    branch.sparse_initializer.append(sparse(np.eye(1, 8, 3, dtype=np.float32), "k", flat=True))
    return model


def spelt(*domains: str, function: bool = False) -> onnx.ModelProto:
    """A model that imports the standard operators under these names."""
    model = parsed(BODY, **WEIGHTS)
    if function:
        body = parser.parse_function(
            '<domain: "local", opset_import: ["" : 17]> Halve (x) => (y) '
            "{ k = Constant <value: tensor = float {0.5}> () y = Mul(x, k) }"
        )
        model.functions.append(body)
        model.graph.node[1].domain, model.graph.node[1].op_type = "local", "Halve"
        model.opset_import.append(helper.make_opsetid("local", 1))
    imports = [entry for entry in model.opset_import if entry.domain != ""]
    del model.opset_import[:]
    model.opset_import.extend([*(helper.make_opsetid(domain, 17) for domain in domains), *imports])
    model.graph.node[0].domain = domains[0]
    return model


def version_three(listed: Sequence[str] = (), *, opset: int = 7) -> onnx.ModelProto:
    """IR version 3, where the standard wants every initializer among the inputs."""
    model = parsed(BODY, f'"" : {opset}', 3, **WEIGHTS)
    for name in listed:
        shape = WEIGHTS[name].shape
        model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    return model


def version_three_with_constants() -> onnx.ModelProto:
    """IR version 3 without any initializer: the weight is a Constant node."""
    constant = "k = Constant <value = float[3] {1.5, 2.0, 0.5}> ()"
    text = f"(float[1,3] x) => (float[1,3] y) {{ {constant} y = Mul(x, k) }}"
    return parsed(text, '"" : 7', 3)


def labelled(*, constant: bool = False, size: int = 0) -> onnx.ModelProto:
    """A classifier that looks its label up in a table of strings."""
    text = (
        "(float[1,8] x) => (string[1] label, float[1,4] y)"
        "{ m = MatMul(x, w1) r = Relu(m) y = MatMul(r, w2) i = ArgMax <axis = 1, keepdims = 0> (y)"
        " label = Gather(labels, i) }"
    )
    table = np.array([*LABELS, *(f"label {i}" for i in range(size))], object)
    model = parsed(text, **WEIGHTS)
    if constant:
        node = helper.make_node("Constant", [], ["labels"], value=numpy_helper.from_array(table))
        model.graph.node.insert(0, node)
    else:
        model.graph.initializer.append(numpy_helper.from_array(table, "labels"))
    return model


def constant_labels(operator: str) -> onnx.ModelProto:
    """An output of strings that depends on no input."""
    text = (
        "(float[1,8] x) => (float[1,4] y, string[4] names)"
        f"{{ m = MatMul(x, w1) r = Relu(m) y = MatMul(r, w2) names = {operator} }}"
    )
    order = np.array([3, 2, 1, 0], np.int64)
    model = parsed(text, **WEIGHTS, labels=LABELS)
    if "order" in operator:
        model.graph.initializer.append(numpy_helper.from_array(order, "order"))
    return model


MODELS = {
    "strings: initializer": labelled(),
    "strings: Constant node": labelled(constant=True),
    "strings: many": labelled(size=5000),
    "strings: output is an initializer": constant_labels("Identity(labels)"),
    "strings: output that folds": constant_labels("Gather(labels, order)"),
    "opset: ai.onnx": spelt("ai.onnx"),
    "opset: both spellings": spelt("ai.onnx", ""),
    "opset: ai.onnx in a function": spelt("ai.onnx", function=True),
    "IR 3: initializers unlisted": version_three(),
    "IR 3: one unlisted": version_three(["w1"]),
    "IR 3: all listed": version_three(["w1", "w2"]),
    "IR 3: constants only": version_three_with_constants(),
    "sparse: flat indices": with_sparse(),
    "sparse: indices by axis": with_sparse(flat=False),
    "sparse: listed as an input": with_sparse(listed=True),
    "sparse: no values": with_sparse(empty=True),
    "sparse: Constant node": with_sparse_constant(),
    "sparse: in a branch": with_sparse_in_branch(),
}
