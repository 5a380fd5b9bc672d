"""Heads that join results of different scale keep the small results, at no cost in int8 products."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import helper

import xslim
from tests import models

BOXES, SCORES, CELLS = 4, 8, 256


def head(*behind: onnx.NodeProto, boxes: float = 200.0, output: str = "joined") -> onnx.ModelProto:
    """Join boxes and logits of scores along the channels, as the exports of detectors do."""
    weights: dict[str, NDArray[np.generic]] = {
        "w": models.draw(1, 16, 3, 3, 3),
        "wb": models.draw(2, BOXES, 16, 1, 1) * np.float32(boxes),
        "ws": models.draw(3, SCORES, 16, 1, 1) * np.float32(3),
        "box_shape": np.array([1, BOXES, -1]),
        "score_shape": np.array([1, SCORES, -1]),
        "expectation": np.arange(4, dtype=np.float32).reshape(1, 4, 1, 1),
        "mixer": models.draw(4, 12, 12, 1),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["stem"], name="stem", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["stem"], ["features"], name="relu"),
        helper.make_node("Conv", ["features", "wb"], ["b"], name="box"),
        helper.make_node("Conv", ["features", "ws"], ["s"], name="score"),
        helper.make_node("Reshape", ["b", "box_shape"], ["boxes"], name="flat_boxes"),
        helper.make_node("Reshape", ["s", "score_shape"], ["scores"], name="flat_scores"),
        helper.make_node("Concat", ["boxes", "scores"], ["joined"], name="join", axis=1),
        *behind,
    ]
    shape: Sequence[int] = (1, BOXES + SCORES, CELLS) if output != "y" else (1, CELLS, BOXES + SCORES)
    used = {name for node in nodes for name in node.input}
    kept = {name: value for name, value in weights.items() if name in used}
    return models.model(nodes, {"x": [1, 3, 16, 16]}, {output: list(shape)}, kept)


def pictures(count: int = 24) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((count, 3, 16, 16)).astype(np.float32)


def run(model: onnx.ModelProto, name: str) -> NDArray[np.float32]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run([name], {"x": pictures(1)})[0]
    return found


def noise_of_scores(model: onnx.ModelProto, quantized: onnx.ModelProto, name: str = "joined") -> float:
    """Return the noise of the scores over the energy of their differences from the mean."""
    a, b = run(model, name), run(quantized, name)
    if name == "y":
        a, b = a.transpose(0, 2, 1), b.transpose(0, 2, 1)
    a, b = a[:, BOXES:], b[:, BOXES:]
    return float(((a - b) ** 2).sum() / ((a - a.mean()) ** 2).sum())


TRANSPOSE = helper.make_node("Transpose", ["joined"], ["y"], name="turn", perm=[0, 2, 1])


@pytest.mark.parametrize("target", ["spacemit", "generic"])
@pytest.mark.parametrize("finetune", [0, 1])
@pytest.mark.parametrize("turned", [False, True])
def test_the_scores_survive_beside_boxes(target: str, finetune: int, turned: bool) -> None:
    model = head(TRANSPOSE, output="y") if turned else head()
    result = xslim.quantize(model, pictures(), target=target, finetune_level=finetune)
    name = "y" if turned else "joined"
    assert noise_of_scores(model, result.model, name) < 0.01
    assert result.plan is not None
    reasons = {item.name: item for item in result.plan.operators}
    # Refinement measures the joint before its ranges are known.
    words = ("far wider range", "limits the outputs") if finetune else ("far wider range",)
    assert any(part in reasons["join"].reason for part in words)
    assert all(reasons[name].int8 for name in ("stem", "box", "score")), "no product becomes float"


def test_the_scores_would_be_lost_in_one_range() -> None:
    # The joined range is that of the boxes: this is what the rule avoids.
    joined = run(head(), "joined")
    step = (joined.max() - min(joined.min(), 0)) / 255
    scores = joined[:, BOXES:]
    assert step > scores.std()


def test_results_of_one_scale_are_joined_in_int8() -> None:
    result = xslim.quantize(head(boxes=3.0), pictures())
    assert result.plan is not None
    assert {item.name for item in result.plan.operators if item.int8} >= {"join"}


def test_a_joint_before_a_learned_layer_stays_int8() -> None:
    mixed = helper.make_node("Conv", ["joined", "mixer"], ["mixed"], name="mixer")
    result = xslim.quantize(head(mixed, output="mixed"), pictures())
    assert result.plan is not None
    assert {item.name for item in result.plan.operators if item.int8} >= {"join", "mixer"}


def one_to_one(classes: int = 8) -> onnx.ModelProto:
    """A head of six outputs without suppression: boxes and scores of three strides, each of its own layer."""
    nodes, weights, outputs = [], {}, {}
    source, size = "x", 32
    for level in range(3):
        name = f"f{level}"
        weights[f"w{level}"] = models.draw(level, 16, 3 if level == 0 else 16, 3, 3)
        nodes += [
            helper.make_node("Conv", [source, f"w{level}"], [f"c{level}"], pads=[1, 1, 1, 1], strides=[2, 2]),
            helper.make_node("Sigmoid", [f"c{level}"], [f"s{level}"]),
            helper.make_node("Mul", [f"c{level}", f"s{level}"], [name]),
        ]
        source, size = name, size // 2
        for kind, channels, scale in (("box", 4, 30.0), ("cls", classes, 2.0)):
            weights[f"{kind}_w{level}"] = models.draw(10 + level, channels, 16, 1, 1) * np.float32(scale)
            nodes.append(helper.make_node("Conv", [name, f"{kind}_w{level}"], [f"{kind}{level}"]))
            outputs[f"{kind}{level}"] = [1, channels, size, size]
    return models.model(nodes, {"x": [1, 3, 32, 32]}, outputs, weights)


def test_the_six_outputs_of_a_head_without_suppression_are_all_alive() -> None:
    samples = np.random.default_rng(1).standard_normal((24, 3, 32, 32)).astype(np.float32)
    result = xslim.quantize(one_to_one(), samples)
    assert len(result.comparison) == 6
    assert all(row.sqnr_db > 20 and row.lost is None for row in result.comparison)
    assert result.plan is not None
    convolutions = [item for item in result.plan.operators if item.op_type == "Conv"]
    assert len(convolutions) == 9
    assert all(item.int8 for item in convolutions)
