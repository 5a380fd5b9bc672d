"""Tests of regions with settings of their own, and of errors in their definition."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from tests import models
from tests.quantization.build import graph, int8, normal, plan_of, prepared, reason
from xslim.config import load_config
from xslim.errors import ConfigError
from xslim.quantization.rules import Region, rules_from

TAIL = Region(("p1",), ("y",), precision_level=3)


def test_a_region_overrides_the_level() -> None:
    plan = plan_of(prepared(models.conv_net()), regions=[TAIL])
    assert int8(plan) == {"conv1", "relu1", "pool1"}
    assert reason(plan, "conv2") == "custom_setting: precision level 3 is float in a static run"


def test_a_region_overrides_method_and_percentile_of_what_it_writes() -> None:
    region = Region(("p1",), ("r2",), method="percentile", max_percentile=0.995)
    groups = {group.name: group for group in plan_of(prepared(models.conv_net()), regions=[region]).groups}
    assert (groups["r2"].method, groups["r2"].max_percentile) == ("percentile", 0.995)
    assert (groups["r1"].method, groups["r1"].max_percentile) == ("default", 0.9999)


def test_the_model_input_has_the_settings_of_its_reader() -> None:
    region = Region(("x",), ("r1",), method="kl")
    groups = {group.name: group for group in plan_of(prepared(models.conv_net()), regions=[region]).groups}
    assert groups["x"].method == groups["r1"].method == "kl"
    assert groups["r2"].method == "default"


def test_only_operators_on_a_path_belong_to_the_region() -> None:
    region = Region(("r1",), ("c3",), precision_level=4)
    plan = plan_of(prepared(models.residual_net()), regions=[region])
    assert int8(plan) == {"stem", "relu1"}
    assert reason(plan, "sum") == "nothing after it computes in int8"


def test_constants_among_the_inputs_change_nothing() -> None:
    with_constant = Region(("p1", "w3"), ("y",), precision_level=3)
    model = prepared(models.conv_net())
    assert plan_of(model, regions=[with_constant]) == plan_of(model, regions=[TAIL])


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (("p1_",), ("y",), "no tensor 'p1_', did you mean 'p1'?"),
        (("p1",), ("nothing-like-it",), "no tensor 'nothing-like-it'"),
        (("y",), ("p1",), "no operator lies between"),
        (("w1",), ("y",), "names only constants"),
    ],
)
def test_a_wrong_region_is_an_error(inputs: tuple[str], outputs: tuple[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")) as caught:
        plan_of(prepared(models.conv_net()), regions=[TAIL, Region(inputs, outputs, precision_level=1)])
    assert str(caught.value.where).startswith("quantization_parameters.custom_setting[1]")


def test_an_end_without_a_path_is_an_error() -> None:
    region = Region(("image", "vector"), ("c",), precision_level=1)
    with pytest.raises(ConfigError, match="no path from 'vector' to any of output_names"):
        plan_of(prepared(models.two_inputs()), regions=[region])
    region = Region(("image",), ("c", "m"), precision_level=1)
    with pytest.raises(ConfigError, match="no path from any of input_names to 'm'"):
        plan_of(prepared(models.two_inputs()), regions=[region])


def test_the_later_of_two_regions_wins_and_the_log_says_so(caplog: pytest.LogCaptureFixture) -> None:
    whole = Region(("x",), ("y",), method="kl")
    with caplog.at_level(logging.WARNING):
        plan = plan_of(prepared(models.conv_net()), regions=[whole, TAIL])
    assert int8(plan) == {"conv1", "relu1", "pool1"}
    assert "custom_setting[1] overlaps custom_setting [0]: the later one wins" in caplog.text


def test_an_open_region_is_mentioned(caplog: pytest.LogCaptureFixture) -> None:
    region = Region(("c3",), ("y",), precision_level=1)
    with caplog.at_level(logging.WARNING):
        plan_of(prepared(models.residual_net()), regions=[region])
    assert "is not closed: it also reads 'r1'" in caplog.text


def test_ignore_lists_win_over_regions() -> None:
    region = Region(("x",), ("y",), precision_level=0)
    plan = plan_of(prepared(models.conv_net()), 2, regions=[region], names=["conv1"])
    assert reason(plan, "conv1") == "listed in ignore_op_names"


def test_rules_are_read_from_the_configuration() -> None:
    config = load_config(
        {
            "calibration_parameters": {
                "calibration_type": "kl",
                "input_parametres": [{"data_list_path": "list.txt"}],
            },
            "quantization_parameters": {
                "precision_level": 1,
                "max_percentile": 0.999,
                "ignore_op_types": ["Softmax"],
                "custom_setting": [
                    {"input_names": ["a"], "output_names": ["b"], "calibration_type": "minmax"}
                ],
            },
        }
    )
    rules = rules_from(config)
    assert (rules.settings.precision_level, rules.settings.method) == (1, "kl")
    (region,) = rules.regions
    inside = region.override(rules.settings)
    assert (inside.precision_level, inside.method, inside.max_percentile) == (1, "minmax", 0.999)
    assert tuple(rules.ignore_op_types) == ("Softmax",)


ABSORBED = """(float[1,4,8,8] x, float[1,8,4] t) => (float[1,4,8,8] y, float[1,8,4] z) {
    c = Conv <pads=[1,1,1,1]> (x, w)
    relu = Relu(c)
    s = Add(relu, x)
    clip = Clip(s, zero, six)
    y = Conv <pads=[1,1,1,1]> (clip, w)
    m = MatMul(t, u)
    bias = Add(m, b)
    z = MatMul(bias, u)
}"""


@pytest.mark.parametrize("level", [3, 4])
@pytest.mark.parametrize(("source", "name"), [("c", "relu"), ("s", "clip"), ("m", "bias")])
def test_a_float_region_holds_for_an_operator_that_would_be_absorbed(
    source: str, name: str, level: int
) -> None:
    weights = {"w": normal(1, 4, 4, 3, 3), "u": normal(2, 4, 4), "b": normal(3, 4)}
    bounds = {"zero": np.float32(0), "six": np.float32(6)}
    model = prepared(graph(ABSORBED, weights | bounds))
    assert reason(plan_of(model), name).startswith("applied by")
    plan = plan_of(model, regions=[Region((source,), (name,), precision_level=level)])
    assert reason(plan, name) == f"custom_setting: precision level {level} is float in a static run"
