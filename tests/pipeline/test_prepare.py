"""The effects of configuration and target on graph preparation."""

import numpy as np
import onnx
import pytest

from tests.passes.build import build, draw, operators
from xslim.config import load_config
from xslim.graph.io import load_model
from xslim.passes import EVERY_FUSION
from xslim.pipeline.prepare import prepare_model
from xslim.targets import load_target, target_names


def silu() -> onnx.ModelProto:
    text = "g (float[1,3,8,8] x) => (float[] y) { h = Conv (x, w) s = Sigmoid (h) y = Mul (h, s) }"
    return build(text, 17, w=draw(4, 3, 3, 3))


def shuffled() -> onnx.ModelProto:
    text = """g (float[1,4,4,8] x) => (float[] y) {
        r = Relu (x) a = Reshape (r, s) t = Transpose <perm = [0, 1, 3, 2, 4, 5]> (a) y = Reshape (t, o)
    }"""
    return build(text, 17, s=np.array([1, 2, 2, 2, 2, 8]), o=np.array([4, 4, 8]))


def prepared(proto: onnx.ModelProto, **sections: dict):
    return prepare_model(load_model(proto), load_config(sections))


@pytest.mark.parametrize(
    ("target", "opset", "found"), [("spacemit", 24, "Swish"), ("generic", 17, "Sigmoid")]
)
def test_the_target_decides_whether_a_fusion_is_worth_a_higher_opset(target, opset, found):
    model = prepared(silu(), quantization_parameters={"target": target, "precision_level": 3})
    assert model.opset_imports[""] == opset
    assert operators(model)[found] == 1


def test_functions_can_be_switched_off():
    settings = {"quantization_parameters": {"precision_level": 3}}
    assert operators(prepared(shuffled(), **settings))["WindowPartition"] == 1
    plain = prepared(shuffled(), **settings, model_parameters={"functions": False})
    assert operators(plain) == {"Relu": 1, "Reshape": 2, "Transpose": 1}
    assert not plain.functions


@pytest.mark.parametrize("target", target_names())
def test_targets_ask_only_for_fusions_that_there_are(target):
    assert load_target(target).raises_opset_for <= EVERY_FUSION
