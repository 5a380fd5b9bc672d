"""The operator tables agree with ONNX's schemas and refuse what a target does not support."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import defs

from tests.quantization.build import graph, normal
from xslim.config import schema
from xslim.errors import ConfigError
from xslim.graph.io import load_model
from xslim.targets import Operator, Target, load_target, target_names

ROLES = {"compute", "elementwise", "activation", "concat", "passive", "float"}
TARGETS = [load_target(name) for name in target_names()]
ENTRIES = [(target, name, operator) for target in TARGETS for name, operator in target.operators.items()]
entries = pytest.mark.parametrize(
    ("target", "name", "operator"), ENTRIES, ids=[f"{target.name}-{name}" for target, name, _ in ENTRIES]
)


def test_the_configuration_knows_every_target() -> None:
    choices = schema()["$defs"]["QuantizationParameters"]["properties"]["target"]["anyOf"]
    assert set(choices[0]["enum"]) == set(target_names()) == {
        "spacemit", "spacemit-k1", "spacemit-k3", "generic",
    }  # fmt: skip


def test_an_unknown_target_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"unknown target 'k1'.*generic, spacemit"):
        load_target("k1")


@entries
def test_an_entry_describes_an_operator_that_exists(target: Target, name: str, operator: Operator) -> None:
    assert operator.role in ROLES
    assert -1 <= operator.max_level <= 2
    assert (operator.role == "float") == (operator.max_level == -1)
    if "." in name:
        return
    schema = defs.get_schema(name)
    attributes = set(schema.attributes)
    asked = [*operator.constraints, *operator.int8_constraints, *operator.half_constraints]
    named = {constraint.attribute for constraint in asked} - {None}
    named |= {key for constraint in asked for key in constraint.unless or {}}
    named |= {key for rule in operator.weight_axis for key in rule.when}
    # GlobalAveragePool-like operators have no such attribute, and old versions may lack one.
    assert named <= attributes
    positions = [*(operator.data_inputs or ()), *(c.input for c in asked if c.input is not None)]
    assert all(
        position < len(schema.inputs) or schema.inputs[-1].option.name == "Variadic" for position in positions
    )
    if operator.opset is not None:
        assert operator.opset <= defs.onnx_opset_version()
        assert defs.get_schema(name, operator.opset).since_version <= operator.opset


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y = Conv(x, w)", "spacemit needs kernel_shape stated"),
        ("y = Conv<kernel_shape = [1, 1]>(x, v)", "spacemit needs a constant as input 1"),
        ("y = AveragePool<kernel_shape = [2, 2], pads = [1, 1, 1, 1]>(x)", "spacemit needs pads 0"),
        ("y = AveragePool<kernel_shape = [2, 2], pads = [1, 1, 1, 1], count_include_pad = 1>(x)", None),
        ('y = Resize<mode = "cubic">(x, e, s)', "spacemit needs mode nearest or linear, here it is cubic"),
        (
            'y = Resize<mode = "linear", coordinate_transformation_mode = "align_corners">(x, e, s)',
            "spacemit needs coordinate_transformation_mode half_pixel or asymmetric",
        ),
        ('y = Resize<mode = "linear">(x, e, s)', None),
        ("y = Reshape(x, shape)", "spacemit needs a constant as input 1"),
        ("y = Reshape(x, flat)", None),
        ("y = ReduceSum(x, axes)", None),
        ("y = Exp(x)", "spacemit has no Exp"),
        ("y = Sqrt(x)", None),
    ],
)
def test_what_the_provider_takes(text: str, expected: str | None) -> None:
    weights = {
        "w": normal(1, 3, 2, 1, 1),
        "e": np.zeros(0, np.float32),
        "s": np.array([1, 1, 2, 2], np.float32),
        "flat": np.array([1, -1]),
        "axes": np.array([1]),
    }
    used = {name: value for name, value in weights.items() if f"{name})" in text or f"{name}," in text}
    inputs = "float[1,2,4,4] x, float[3,2,1,1] v, int64[2] shape"
    node = load_model(graph(f"({inputs}) => (float y) {{ {text} }}", used)).graph[-1]
    refusal = load_target().refusal(node)
    assert refusal is None if expected is None else (refusal or "").startswith(expected)
    assert load_target("generic").refusal(node) is None


@pytest.mark.parametrize(
    ("attributes", "refused"),
    [
        ("", False),
        ("<transB = 1>", False),
        ("<transA = 1>", True),
        ("<alpha = 0.5>", True),
        ("<beta = 2.0>", True),
    ],
)
def test_forms_of_gemm(attributes: str, refused: bool) -> None:
    text = f"(float[4,4] x) => (float[4,4] y) {{ y = Gemm{attributes}(x, w, b) }}"
    node = load_model(graph(text, {"w": normal(1, 4, 4), "b": normal(2, 4)})).graph[0]
    assert (load_target().refusal(node) is not None) == refused


def test_types_that_the_provider_lacks() -> None:
    node = load_model(graph("(int64[4] x) => (int64[4] y) { y = Add(x, x) }")).graph[0]
    assert load_target().refusal(node) == "spacemit has no Add for int64"
