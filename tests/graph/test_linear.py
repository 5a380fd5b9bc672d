"""Scaling a weight along its channels scales the operator's data or result, whatever the layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper

from xslim.graph.linear import LAYOUTS, Layout, is_plain

CASES = [
    ("Conv", {}, (2, 6, 5, 5), (4, 6, 3, 3)),
    ("Conv", {"group": 2}, (2, 6, 5, 5), (4, 3, 3, 3)),
    ("Conv", {"group": 6}, (2, 6, 7), (12, 1, 3)),
    ("ConvTranspose", {}, (2, 4, 5, 5), (4, 6, 3, 3)),
    ("ConvTranspose", {"group": 2}, (2, 4, 5, 5), (4, 3, 3, 3)),
    ("ConvTranspose", {"group": 4}, (2, 4, 6, 6), (4, 2, 2, 2)),
    ("Gemm", {}, (3, 4), (4, 5)),
    ("Gemm", {"transB": 1}, (3, 4), (5, 4)),
    ("Gemm", {"transA": 1}, (4, 3), (4, 5)),
    ("Gemm", {"transA": 1, "transB": 1}, (4, 3), (5, 4)),
    ("MatMul", {}, (3, 4), (4, 5)),
    ("MatMul", {}, (2, 3, 4), (4, 5)),
    ("MatMul", {}, (2, 3, 4), (2, 4, 5)),
]
IDS = [f"{op_type}-{attributes}-{weight}" for op_type, attributes, _, weight in CASES]


def _node(op_type: str, attributes: dict[str, Any]) -> onnx.NodeProto:
    return helper.make_node(op_type, ["x", "w"], ["y"], **attributes)


def _layout(op_type: str, attributes: dict[str, Any]) -> Layout:
    return LAYOUTS[op_type](ir.from_proto(_node(op_type, attributes)))


def _run(node: onnx.NodeProto, data: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    inputs = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, array.shape)
        for name, array in (("x", data), ("w", weight))
    ]
    output = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "one", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"x": data.astype(np.float32), "w": weight.astype(np.float32)}
    return np.asarray(session.run(None, feeds)[0])


def _along(vector: NDArray[Any], axis: int, ndim: int) -> NDArray[Any]:
    sizes = [1] * ndim
    sizes[axis] = -1
    return vector.reshape(sizes)


@pytest.mark.parametrize(("op_type", "attributes", "data_shape", "weight_shape"), CASES, ids=IDS)
def test_scales_of_a_weight_are_scales_of_data_and_result(
    op_type: str, attributes: dict[str, Any], data_shape: tuple[int, ...], weight_shape: tuple[int, ...]
) -> None:
    random = np.random.default_rng(0)
    data, weight = random.standard_normal(data_shape), random.standard_normal(weight_shape)
    node, layout = _node(op_type, attributes), _layout(op_type, attributes)
    result = _run(node, data, weight)

    outputs = layout.outputs(weight_shape)
    assert outputs == result.shape[layout.result_axis]
    scale = random.uniform(0.5, 2, outputs)
    np.testing.assert_allclose(
        _run(node, data, weight * layout.along_outputs(scale, weight_shape)),
        result * _along(scale, layout.result_axis, result.ndim),
        rtol=1e-4,
        atol=1e-5,
    )

    inputs = data_shape[layout.data_axis]
    assert layout.inputs_of_group(weight_shape) * layout.groups == inputs
    scale = random.uniform(0.5, 2, inputs)
    np.testing.assert_allclose(
        _run(node, data * _along(scale, layout.data_axis, data.ndim), weight),
        _run(node, data, weight * layout.along_inputs(scale, weight_shape)),
        rtol=1e-4,
        atol=1e-5,
    )


def test_every_operator_of_the_table_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(LAYOUTS)


@pytest.mark.parametrize(
    ("op_type", "attributes", "plain"),
    [
        ("MatMul", {}, True),
        ("Conv", {"group": 2}, True),
        ("Gemm", {}, True),
        ("Gemm", {"transB": 1, "beta": 0.5}, True),
        ("Gemm", {"alpha": 0.5}, False),
        ("Gemm", {"transA": 1}, False),
    ],
)
def test_only_gemm_may_change_its_data(op_type: str, attributes: dict[str, Any], plain: bool) -> None:
    assert is_plain(ir.from_proto(_node(op_type, attributes))) is plain


@pytest.mark.parametrize("group", ["two", 1.5, [1, 2], 0, -1])
def test_what_is_no_number_of_groups_counts_as_one_group(group: Any) -> None:
    assert _layout("Conv", {"group": group}).groups == 1
