"""Tests of parameters that the inputs and the output of a Concat share."""

from __future__ import annotations

import numpy as np
import pytest

from tests.quantization.build import (
    exported,
    graph,
    normal,
    observed,
    plan_of,
    prepared,
    run,
    sqnr,
)
from xslim.graph.scheme import QuantParams, QuantPlan
from xslim.quantization.parameters import find_parameters
from xslim.quantization.sharing import share_parameters
from xslim.targets import load_target

SIDE_BY_SIDE = """(float[1,4,6,6] x) => (float[1,4,6,6] y, float[1,4,6,6] z) {
    a = Conv<kernel_shape = [1, 1]>(x, wa)
    b = Conv<kernel_shape = [1, 1]>(x, wb)
    c = Concat<axis = 1>(a, b)
    y = Conv<kernel_shape = [1, 1]>(c, wc)
    z = Conv<kernel_shape = [1, 1]>(b, wb)
}"""


def shared(scale: float, text: str = SIDE_BY_SIDE) -> tuple[QuantPlan, dict[str, QuantParams]]:
    """Plan, with weights of `b` that are `scale` times those of `a`; return also all parameters."""
    weights = {
        "wa": normal(1, 4, 4, 1, 1),
        "wb": normal(1, 4, 4, 1, 1) * np.float32(scale),
        "wc": normal(3, 4, 8, 1, 1),
    }
    model = prepared(graph(text, weights))
    plan = plan_of(model)
    sketches = observed(model, plan.observed, [{"x": normal(4, 1, 4, 6, 6)}])
    plan = share_parameters(plan, sketches)
    return plan, find_parameters(model, plan, sketches).activations


def test_an_input_that_nothing_else_reads_takes_the_parameters_of_the_output() -> None:
    plan, found = shared(0.1)
    assert found["a"] is found["c"]
    (group,) = [group for group in plan.groups if "c" in group.tensors]
    assert group.tensors == ("a", "c")
    assert group.observed == ("c",)


def test_an_input_with_other_readers_keeps_fine_steps() -> None:
    _, found = shared(0.1)
    assert float(found["b"].scale) < 0.3 * float(found["c"].scale)


def test_an_input_with_other_readers_shares_where_the_ranges_are_close() -> None:
    _, found = shared(1.05)
    assert found["a"] is found["b"] is found["c"]


def test_every_tensor_stays_in_exactly_one_group() -> None:
    for scale in (0.1, 1.05):
        plan, _ = shared(scale)
        names = [name for group in plan.groups for name in group.tensors]
        assert sorted(names) == sorted(set(names)) == sorted({"x", "a", "b", "c", "y", "z"})


def test_an_absorbed_activation_keeps_the_range_that_replaces_it() -> None:
    text = SIDE_BY_SIDE.replace("c = Concat<axis = 1>(a, b)", "r = Relu(a) c = Concat<axis = 1>(r, b)")
    _, found = shared(1.05, text)
    assert found["c"].zero_point > -128
    assert found["r"].zero_point == -128


def test_sharing_does_not_lose_accuracy() -> None:
    weights = {"wa": normal(1, 4, 4, 1, 1), "wb": normal(2, 4, 4, 1, 1), "wc": normal(3, 4, 8, 1, 1)}
    proto = graph(SIDE_BY_SIDE, weights)
    model = prepared(proto)
    feeds = [{"x": normal(seed, 1, 4, 6, 6)} for seed in range(8)]
    plan = plan_of(model)
    sketches = observed(model, plan.observed, feeds)
    target = load_target()
    noise = []
    for variant in (plan, share_parameters(plan, sketches)):
        candidate = exported(model, variant, find_parameters(model, variant, sketches), target)
        pairs = [(run(proto, item)[0], run(candidate, item)[0]) for item in feeds]
        noise.append(sqnr(*(np.stack(side) for side in zip(*pairs, strict=True))))
    separate, together = noise
    assert together >= separate - 0.2


@pytest.mark.parametrize("level", [0, 1, 2])
def test_a_concatenation_of_a_float_tensor_is_float(level: int) -> None:
    text = SIDE_BY_SIDE.replace("c = Concat<axis = 1>(a, b)", "s = Sin(a) c = Concat<axis = 1>(s, b)")
    weights = {"wa": normal(1, 4, 4, 1, 1), "wb": normal(2, 4, 4, 1, 1), "wc": normal(3, 4, 8, 1, 1)}
    plan = plan_of(prepared(graph(text, weights)), level)
    assert "c" not in plan.int8_operators
    assert plan.concats == ()
