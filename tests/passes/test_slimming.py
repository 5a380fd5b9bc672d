"""onnxslim runs only on models in which it finds something."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx.helper import make_node

from tests import models
from xslim.graph.io import load_model, to_proto
from xslim.passes import slimming
from xslim.passes.folding import infer_shapes
from xslim.passes.preparation import prepare
from xslim.passes.slimming import has_work_for_onnxslim, run_onnxslim

PLAIN = (models.conv_net, models.depthwise_net, models.residual_net)


@pytest.mark.parametrize("make", PLAIN)
def test_onnxslim_finds_nothing_in_a_plain_model(
    make: Callable[[], onnx.ModelProto], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(make())
    assert not has_work_for_onnxslim(model)
    without = to_proto(prepare(model))
    monkeypatch.setattr("xslim.passes.preparation.has_work_for_onnxslim", lambda model: True)
    with_onnxslim = to_proto(prepare(model))
    assert [node.op_type for node in with_onnxslim.graph.node] == [
        node.op_type for node in without.graph.node
    ]


def test_arithmetic_of_shapes_and_other_domains_are_work(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not has_work_for_onnxslim(load_model(models.conv_net()))
    shaped = models.model(
        [
            make_node("Shape", ["x"], ["s"]),
            make_node("Reshape", ["x", "s"], ["y"]),
        ],
        {"x": [2, 3]},
        {"y": [2, 3]},
    )
    assert has_work_for_onnxslim(load_model(shaped))
    called: list[object] = []
    monkeypatch.setattr(
        "xslim.passes.preparation.run_onnxslim", lambda model: called.append(model) or run_onnxslim(model)
    )
    prepare(load_model(models.conv_net()))
    assert not called
    prepare(load_model(shaped))
    assert called


def _behind_relu(*nodes: onnx.NodeProto, **weights: NDArray[np.generic]) -> ir.Model:
    """Return a model whose node writes what a convolution reads."""
    first = make_node("Relu", ["x"], ["r"])
    last = make_node("Conv", ["d", "w"], ["y"])
    kernel = {"w": models.draw(1, 4, 3, 1, 1)}
    return load_model(
        models.model([first, *nodes, last], {"x": [1, 3, 8, 8]}, {"y": [1, 4, 8, 8]}, {**kernel, **weights})
    )


WORK = {
    "times 1": _behind_relu(make_node("Mul", ["r", "c"], ["d"]), c=np.ones(1, np.float32)),
    "minus 0": _behind_relu(make_node("Sub", ["r", "c"], ["d"]), c=np.zeros((3, 1, 1), np.float32)),
    "Concat of Concat": _behind_relu(
        make_node("Slice", ["r", "b", "e", "a"], ["s"]),
        make_node("Concat", ["s", "s"], ["t"], axis=2),
        make_node("Concat", ["t", "s", "s"], ["d"], axis=2),
        **{name: np.array([value]) for name, value in (("b", 0), ("e", 2), ("a", 2))},
    ),
    "Transpose there and back": _behind_relu(
        make_node("Transpose", ["r"], ["t"], perm=[0, 2, 3, 1]),
        make_node("Transpose", ["t"], ["d"], perm=[0, 3, 1, 2]),
    ),
    "Transpose before and behind a Reshape": _behind_relu(
        make_node("Transpose", ["r"], ["t"], perm=[2, 0, 3, 1]),
        make_node("Reshape", ["t", "s"], ["u"]),
        make_node("Transpose", ["u"], ["d"], perm=[1, 3, 0, 2]),
        s=np.array([8, 1, 8, 3]),
    ),
    "Pad by nothing": _behind_relu(make_node("Pad", ["r", "p"], ["d"]), p=np.zeros(8, np.int64)),
    "Reshape to the same shape": _behind_relu(
        make_node("Reshape", ["r", "s"], ["d"]), s=np.array([1, 3, 8, 8])
    ),
}


@pytest.mark.parametrize("name", WORK)
def test_what_onnxslim_removes_is_work(name: str) -> None:
    model = WORK[name]
    assert has_work_for_onnxslim(infer_shapes_of(model))
    assert len(prepare(model).graph) < len(model.graph)


NO_WORK = {
    "plus 1": _behind_relu(make_node("Add", ["r", "c"], ["d"]), c=np.ones(1, np.float32)),
    "times 0": _behind_relu(make_node("Mul", ["r", "c"], ["d"]), c=np.zeros(1, np.float32)),
    "plus zeros that onnxslim does not see": _behind_relu(
        make_node("Add", ["r", "c"], ["d"]), c=np.zeros((3, 8, 8), np.float32)
    ),
    "a Gather": _behind_relu(make_node("Gather", ["r", "i"], ["d"], axis=1), i=np.array([2, 1, 0])),
    "two Transposes around arithmetic": _behind_relu(
        make_node("Transpose", ["r"], ["t"], perm=[0, 2, 3, 1]),
        make_node("Add", ["t", "c"], ["u"]),
        make_node("Transpose", ["u"], ["d"], perm=[0, 3, 1, 2]),
        c=np.ones(3, np.float32),
    ),
    "padding": _behind_relu(
        make_node("Pad", ["r", "p"], ["t"]),
        make_node("MaxPool", ["t"], ["d"], kernel_shape=[3, 3], strides=[1, 1]),
        p=np.array([0, 0, 1, 1, 0, 0, 1, 1]),
    ),
}


@pytest.mark.parametrize("name", NO_WORK)
def test_what_onnxslim_leaves_alone_is_no_work(name: str) -> None:
    model = infer_shapes_of(NO_WORK[name])
    assert not has_work_for_onnxslim(model)
    before, after = to_proto(model).graph, to_proto(run_onnxslim(model)).graph
    assert [node.op_type for node in before.node] == [node.op_type for node in after.node]


def infer_shapes_of(model: ir.Model) -> ir.Model:
    copy = model.clone()
    infer_shapes(copy)
    return copy


def test_every_operator_of_the_tables_is_one_of_onnx() -> None:
    tables = slimming.PLAIN, slimming.ARITHMETIC, slimming.MOVING
    assert all(onnx.defs.has(name) for table in tables for name in table)
