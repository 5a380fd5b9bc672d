"""Factors around functions: exact in float, they stay float, and gated products pass scales on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from tests import models
from tests.quantization.build import graph, plan_of, prepared
from xslim.graph.factors import is_factor, products
from xslim.graph.io import to_proto
from xslim.graph.outputs import with_outputs
from xslim.quantization.balancing import insert_factors, remove_factors, remove_unused_factors
from xslim.quantization.channels import PINNED, trace_channels
from xslim.quantization.equalization import channels_to_observe, equalize
from xslim.quantization.plan import make_plan
from xslim.quantization.rules import OperatorSettings, Rules
from xslim.runtime import Session
from xslim.targets import load_target

SWISH = """(float[1,3,8,8] x) => (float[1,5,8,8] y) {
    a = Conv <pads=[1,1,1,1]> (x, w)
    g = Sigmoid(a)
    s = Mul(a, g)
    y = Conv(s, v)
}"""

HARD = """(float[1,3,8,8] x) => (float[1,5,8,8] y) {
    a = Conv <pads=[1,1,1,1]> (x, w)
    s = HardSwish(a)
    y = Conv(s, v)
}"""

GATE = """(float[1,3,8,8] x) => (float[1,5,8,8] y) {
    a = Conv <pads=[1,1,1,1]> (x, w)
    p = GlobalAveragePool(a)
    q = Conv(p, u)
    g = Sigmoid(q)
    s = Mul(a, g)
    y = Conv(s, v)
}"""


def weights() -> dict[str, np.ndarray]:
    uneven = models.draw(1, 6, 3, 3, 3) * 10.0 ** np.linspace(-0.7, 0.7, 6).reshape(6, 1, 1, 1)
    return {
        "w": uneven.astype(np.float32),
        "u": models.draw(2, 6, 6, 1, 1),
        "v": models.draw(3, 5, 6, 1, 1),
    }


def model_of(text: str) -> ir.Model:
    used = {name: array for name, array in weights().items() if f", {name})" in text}
    return prepared(graph(text, used))


def run(model: ir.Model, names: list[str], seed: int = 0) -> list[np.ndarray]:
    x = np.random.default_rng(seed).standard_normal((1, 3, 8, 8)).astype(np.float32)
    return Session(to_proto(with_outputs(model, names)).SerializeToString(), names).run({"x": x})


def equalized(text: str) -> tuple[ir.Model, ir.Model]:
    """A model and its equalised form, with the ranges of one run."""
    model = model_of(text)
    extended = insert_factors(model, plan_of(model), everywhere=True)
    wanted = channels_to_observe(extended, plan_of(extended))
    found = dict(zip(wanted, run(extended, list(wanted)), strict=True))
    ranges = {
        name: np.abs(np.moveaxis(array, wanted[name], 0).reshape(array.shape[wanted[name]], -1))
        .max(axis=1)
        .astype(np.float64)
        for name, array in found.items()
    }
    return model, remove_unused_factors(equalize(extended, ranges)[0])


@pytest.mark.parametrize("text", [SWISH, HARD, GATE])
def test_equalised_functions_compute_the_same(text: str) -> None:
    model, changed = equalized(text)
    expected, found = run(model, ["y"], 1)[0], run(changed, ["y"], 1)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("text", [SWISH, HARD])
def test_the_channels_of_both_sides_of_a_function_become_even(text: str) -> None:
    _, changed = equalized(text)
    plan = plan_of(changed)
    quantized = [name for group in plan.groups for name in group.tensors if name not in ("x", "y")]
    assert len(quantized) >= 2
    for name, array in zip(quantized, run(changed, quantized), strict=True):
        ranges = np.abs(array).max(axis=(0, 2, 3))
        assert ranges.max() < 1.05 * ranges.min(), name


@pytest.mark.parametrize("text", [SWISH, HARD])
@pytest.mark.parametrize("level", [0, 1])
def test_factors_and_the_function_between_them_are_float(text: str, level: int) -> None:
    """A factor that is int8 itself rounds the channels before they are scaled."""
    _, changed = equalized(text)
    plan = plan_of(changed, level)
    factors = [node.name for node in changed.graph if is_factor(node)]
    functions = [node.name for node in changed.graph if node.op_type in ("Swish", "HardSwish")]
    assert factors
    assert functions
    assert plan.int8_operators.isdisjoint([*factors, *functions])
    convolutions = {node.name for node in changed.graph if node.op_type == "Conv"}
    assert convolutions <= plan.int8_operators


def test_a_gate_passes_the_scale_of_the_gated_tensor_on() -> None:
    model = model_of(GATE)
    channels = trace_channels(model.graph)
    assert (channels["s"].ids == channels["a"].ids).all()
    assert (channels["a"].ids != PINNED).all()
    assert "g" not in channels


def test_removed_factors_leave_the_model_as_it_was() -> None:
    model = model_of(SWISH)
    extended = insert_factors(model, plan_of(model), everywhere=True)
    bare = remove_factors(extended, set(products(extended)))
    assert [node.op_type for node in bare.graph] == [node.op_type for node in model.graph]


def test_tensors_kept_float_make_their_operators_float() -> None:
    model = model_of(HARD)
    rules = Rules(OperatorSettings(0), kept_float={"s": "because"})
    plan = make_plan(model, load_target("spacemit"), rules)
    reasons = {operator.op_type: operator.reason for operator in plan.operators if not operator.int8}
    assert "s" not in {name for group in plan.groups for name in group.tensors}
    assert reasons["HardSwish"] == "because"
    last = next(operator for operator in plan.operators if operator.name == "y")
    assert (last.int8, last.reason) == (False, "because")
    assert replace(rules, kept_float={}) == Rules(OperatorSettings(0))
