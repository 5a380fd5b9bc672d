"""The tensors that lose most in int8 are found by measuring, and left float within a price."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tests import models
from tests.quantization.build import graph, prepared
from tests.refinement.test_steps import config, fresh_sqnr
from xslim.pipeline.static import StaticResult, quantize_static
from xslim.refinement.float_tensors import LEFT

OFFSET = """(float[1,3,8,8] x) => (float[1,8,8,8] y) {
    a = Conv <pads=[1,1,1,1]> (x, w)
    q = Conv <pads=[1,1,1,1]> (x, u)
    b = Add(a, q)
    d = Sub(b, q)
    y = Conv <pads=[1,1,1,1]> (d, v)
}"""
"""The sum with a tensor that is 300 times larger has too large steps in int8. No scale of a channel helps."""

FIRST = """(float[1,3,8,8] x) => (float[1,8,8,8] y) {
    a = Conv(x, u)
    b = Relu(a)
    d = Conv(b, t)
    y = Conv <pads=[1,1,1,1]> (d, v)
}"""
"""The second layer subtracts large equal channels, so only the small difference between them counts."""


def offset_model() -> ir.Model:
    weights = {
        "w": models.draw(1, 6, 3, 3, 3),
        "v": models.draw(2, 8, 6, 3, 3),
        "u": models.draw(3, 6, 3, 3, 3) * 300,
    }
    return prepared(graph(OFFSET, weights))


def run(folder: Path, model: ir.Model, **quantization: object) -> StaticResult:
    return quantize_static(model, config(folder, 24, **quantization), folder / "store")


def left_float(result: StaticResult) -> set[str]:
    return {operator.op_type for operator in result.plan.operators if operator.reason.startswith(LEFT)}


@pytest.mark.parametrize("share", [0.0, 0.05])
def test_a_sum_that_loses_all_becomes_float_and_layers_stay_int8(tmp_path: Path, share: float) -> None:
    model = offset_model()
    plain = run(tmp_path / "0", model, finetune_level=0)
    refined = run(tmp_path / "1", model, finetune_level=1, max_float_share=share)
    assert fresh_sqnr(plain, model) < 5
    assert fresh_sqnr(refined, model) > 25
    int8 = {node.op_type for node in refined.reference.graph if node.name in refined.plan.int8_operators}
    assert int8 == {"Conv"}
    convolutions = {node.name for node in refined.reference.graph if node.op_type == "Conv"}
    assert convolutions <= refined.plan.int8_operators


@pytest.mark.parametrize(("share", "expected"), [(0.0, set()), (0.5, {"Conv"})])
def test_layers_are_left_float_within_the_price_only(
    tmp_path: Path, share: float, expected: set[str]
) -> None:
    random = np.random.default_rng(0)
    first = random.standard_normal((8, 3, 1, 1)).astype(np.float32) * 0.01
    first[:, 0] += 10.0
    difference = np.zeros((4, 8, 1, 1), np.float32)
    difference[range(4), range(0, 8, 2)], difference[range(4), range(1, 8, 2)] = 1.0, -1.0
    weights = {"u": first, "t": difference, "v": models.draw(2, 8, 4, 3, 3)}
    model = prepared(graph(FIRST, weights))
    result = run(tmp_path, model, finetune_level=1, max_float_share=share)
    assert left_float(result) & {"Conv"} == expected


def test_listed_tensors_stay_float_with_the_operators_around_them(tmp_path: Path) -> None:
    model = offset_model()
    result = run(tmp_path, model, float_tensors=["a", "[d]"])
    reasons = {
        operator.outputs[0]: operator.reason for operator in result.plan.operators if not operator.int8
    }
    assert {reasons[name] for name in ("a", "b", "d")} == {"listed in float_tensors"}
    assert not {"a", "d"} & set(result.quantization.activations)


def test_a_listed_tensor_that_does_not_exist_is_mentioned(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, offset_model(), finetune_level=0, float_tensors=["A", "no_such_tensor"])
    assert "float_tensors: no tensor of the prepared model is named 'A', did you mean 'a'?" in caplog.text
    assert caplog.text.count("float_tensors:") == 2
