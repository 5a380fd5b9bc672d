"""Helpers for tests of rules: models in ONNX text, and a check that a rewritten model computes the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from xslim.graph.io import load_model, to_proto
from xslim.passes.folding import fold_constants, infer_shapes
from xslim.passes.rewriting import apply_rules
from xslim.passes.tidy import order_operands

Array = NDArray[np.generic]


def build(text: str, opset: int = 17, functions: str = "", **weights: Array) -> onnx.ModelProto:
    """Parse ``g (float[1,3,8,8] x) => (float[...] y) { ... }`` and add the weights as initializers."""
    imports = f'"" : {opset}' + (', "local" : 1' if functions else "")
    model = parser.parse_model(f"<ir_version: 10, opset_import: [{imports}]> {text} {functions}")
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()
    )
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    del model.graph.value_info[:]
    return model


def draw(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Normal numbers."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def positive(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Numbers between one half and one and a half."""
    return np.random.default_rng([seed, *shape]).uniform(0.5, 1.5, shape).astype(np.float32)


def feeds(model: onnx.ModelProto, seed: int = 0) -> dict[str, Array]:
    """Random inputs; symbolic dimensions become 2."""
    rng = np.random.default_rng(seed)
    filled = {initializer.name for initializer in model.graph.initializer}
    result = {}
    for value in model.graph.input:
        if value.name in filled:
            continue
        kind = value.type.tensor_type
        shape = [dim.dim_value if dim.HasField("dim_value") else 2 for dim in kind.shape.dim]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        if np.issubdtype(dtype, np.floating):
            result[value.name] = rng.standard_normal(shape).astype(dtype)
        else:
            result[value.name] = rng.integers(0, 2, shape).astype(dtype)
    return result


def run(model: onnx.ModelProto, inputs: dict[str, Array]) -> list[Array]:
    """Outputs by onnxruntime, its own fusions switched off."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


def assert_same(before: onnx.ModelProto, after: onnx.ModelProto, tolerance: float = 1e-5) -> None:
    """Both have the same interface and compute the same on random inputs."""
    assert [value.name for value in after.graph.output] == [value.name for value in before.graph.output]
    inputs = feeds(before)
    for expected, actual in zip(run(before, inputs), run(after, inputs), strict=True):
        assert actual.shape == expected.shape
        assert actual.dtype == expected.dtype
        if np.issubdtype(expected.dtype, np.floating):
            scale = max(float(np.abs(expected).max()), 1e-12)
            assert float(np.abs(expected.astype(np.float64) - actual).max()) <= tolerance * scale
        else:
            np.testing.assert_array_equal(actual, expected)


def operators(model: ir.Model | onnx.ModelProto) -> Counter[str]:
    """How often each operator occurs in the main graph."""
    nodes: Iterable[ir.Node | onnx.NodeProto]
    nodes = model.graph.node if isinstance(model, onnx.ModelProto) else model.graph
    return Counter(node.op_type for node in nodes)


def rewrite(proto: onnx.ModelProto, rules: Iterable[object], tolerance: float = 1e-5) -> Counter[str]:
    """Apply rules, check that the outputs are the same, and return the operators of the result."""
    model = _canonical(proto)
    apply_rules(model, list(rules))
    infer_shapes(model)
    fold_constants(model)
    after = to_proto(model)
    onnx.checker.check_model(after)
    assert_same(proto, after, tolerance)
    return operators(model)


def untouched(proto: onnx.ModelProto, rules: Iterable[object]) -> bool:
    """Whether no rule fires on the model."""
    return not apply_rules(_canonical(proto), list(rules))


def _canonical(proto: onnx.ModelProto) -> ir.Model:
    model = load_model(proto)
    infer_shapes(model)
    fold_constants(model)
    order_operands(model)
    return model
