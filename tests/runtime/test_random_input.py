from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.export.running import draw
from tests.models import conv_net, model, save, token_net
from xslim.graph.io import load_model
from xslim.runtime import Session, random_feeds


@pytest.mark.parametrize(
    "proto", [conv_net(), conv_net(batch="n"), token_net()], ids=["fixed", "batch", "tokens"]
)
def test_models_take_their_random_input(proto, tmp_path: Path):
    model = load_model(proto)
    feeds = next(iter(random_feeds(model)))
    outputs = Session(save(proto, tmp_path / "m.onnx")).run(feeds)
    assert all(np.isfinite(array).all() for array in outputs)


def test_the_same_model_gets_the_same_numbers():
    first, second = (next(iter(random_feeds(load_model(conv_net())))) for _ in range(2))
    np.testing.assert_array_equal(first["x"], second["x"])


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_indices_stay_inside_a_small_table(rows):
    nodes = [helper.make_node("Gather", ["table", "ids"], ["y"])]
    proto = model(
        nodes, {"ids": [1, "length"]}, {"y": [1, "length", 4]}, {"table": draw(1, rows, 4)},
        input_type=TensorProto.INT64,
    )  # fmt: skip
    ids = next(iter(random_feeds(load_model(proto))))["ids"]
    assert set(ids.ravel().tolist()) == set(range(rows))


def test_indices_stay_inside_their_table():
    nodes = [
        helper.make_node("Cast", ["ids"], ["i"], to=TensorProto.INT32),
        helper.make_node("Gather", ["table", "i"], ["y"]),
    ]
    proto = model(
        nodes, {"ids": [1, "length"]}, {"y": [1, "length", 4]}, {"table": draw(1, 50, 4)},
        input_type=TensorProto.INT64,
    )  # fmt: skip
    ids = next(iter(random_feeds(load_model(proto))))["ids"]
    assert ids.dtype == np.int64
    assert 0 <= ids.min() < 50 > ids.max() > 1


def test_unknown_dimensions_are_tried_in_turn():
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    proto = model(nodes, {"x": ["batch", "frames", "length"]}, {"y": ["batch", "frames", "length"]})
    shapes = [feeds["x"].shape for feeds in random_feeds(load_model(proto))]
    assert all(shape[0] == 1 for shape in shapes)
    assert any(shape[1] == shape[2] > 1 for shape in shapes)
    assert any(shape[1] == 1 < shape[2] for shape in shapes)
