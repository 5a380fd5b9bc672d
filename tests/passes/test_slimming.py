"""onnxslim runs only on models in which it finds something."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest

from tests import models
from xslim.graph.io import load_model, to_proto
from xslim.passes import slimming
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
            onnx.helper.make_node("Shape", ["x"], ["s"]),
            onnx.helper.make_node("Reshape", ["x", "s"], ["y"]),
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


def test_every_plain_operator_is_one_of_onnx() -> None:
    assert all(onnx.defs.has(name) for name in slimming.PLAIN)
