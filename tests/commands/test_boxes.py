"""``xslim compare --boxes``: heads made by hand from known boxes, in every layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import xslim
from tests import models
from xslim.cli import main
from xslim.commands.boxes import LAYOUTS, Boxes, boxes_of, iou, layout_of, suppressed
from xslim.commands.detections import matched

HEIGHT, WIDTH = 64, 96
CELLS = [(y, x, s) for s in (8, 16, 32) for y in range(HEIGHT // s) for x in range(WIDTH // s)]
CLASSES = 3
TRUTH = [(10, 12, 20, 30, 0, 0.9), (50, 40, 24, 16, 2, 0.8), (80, 20, 30, 30, 1, 0.6)]
"""Centre, sides, class and score."""
Found = list[tuple[float, float, float, float, int, float]]
NODE = onnx.helper.make_node


def head(layout: str, boxes: Found) -> np.ndarray:
    """Write boxes as the head of a detector does, each in the cell of its centre in the finest grid."""
    anchors = 3 if layout == "yolov5" else 1
    columns = CLASSES + (4 if layout == "yolov8" else 5)
    rows = np.zeros((anchors * len(CELLS), columns), np.float32)
    if layout == "yolox":
        rows[:, 2:4] = -1
    if layout == "end2end":
        rows = np.zeros((20, 6), np.float32)
    for number, (x, y, w, h, kind, score) in enumerate(boxes):
        place = CELLS.index((int(y // 8), int(x // 8), 8))
        if layout == "yolov8":
            rows[place, :4], rows[place, 4 + kind] = (x, y, w, h), score
        elif layout == "yolov5":
            rows[place, :4], rows[place, 4], rows[place, 5 + kind] = (x, y, w, h), score / 0.95, 0.95
        elif layout == "yolox":
            rows[place, :4] = x / 8 - x // 8, y / 8 - y // 8, np.log(w / 8), np.log(h / 8)
            rows[place, 4], rows[place, 5 + kind] = score / 0.95, 0.95
        else:
            rows[number] = x - w / 2, y - h / 2, x + w / 2, y + h / 2, score, kind
    return (rows.T if layout == "yolov8" else rows)[None]


def detector(output: np.ndarray) -> onnx.ModelProto:
    """Build a model that returns the same head for every picture."""
    nodes = [
        NODE("ReduceMean", ["x"], ["m"], keepdims=0),
        NODE("Mul", ["m", "zero"], ["z"]),
        NODE("Add", ["head", "z"], ["y"]),
    ]
    weights = {"head": output, "zero": np.float32(0)}
    return models.model(nodes, {"x": [1, 3, HEIGHT, WIDTH]}, {"y": output.shape}, weights)


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(0).random((2, 3, HEIGHT, WIDTH), np.float32)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_boxes_back(layout: str) -> None:
    output = head(layout, TRUTH)
    assert layout_of(output, (HEIGHT, WIDTH)) == layout
    (found,) = boxes_of(output, (HEIGHT, WIDTH), layout)
    expected = [(x - w / 2, y - h / 2, x + w / 2, y + h / 2) for x, y, w, h, _, _ in TRUTH]
    np.testing.assert_allclose(found.corners, expected, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found.scores, [row[5] for row in TRUTH], rtol=1e-5)
    assert found.classes.tolist() == [row[4] for row in TRUTH]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_f1_counts_boxes_of_the_same_class(layout: str, pictures: np.ndarray) -> None:
    changed: Found = [
        (10, 12, 20, 30, 0, 0.7),  # the same box with another score
        (50, 40, 24, 16, 1, 0.8),  # another class
        (72, 20, 30, 30, 1, 0.6),  # moved by 8 of 30 pixels: 22 / 38 of the union
        (20, 52, 16, 16, 0, 0.5),  # not there
        (60, 58, 8, 8, 0, 0.2),  # below the least score
    ]
    first, second = detector(head(layout, TRUTH)), detector(head(layout, changed))
    found = xslim.compare(first, second, pictures, boxes="auto").detections
    assert found is not None
    assert (found.first, found.second, found.common) == (6, 8, 4)
    assert found.f1 == pytest.approx(2 * 4 / (6 + 8))
    assert found.mean_iou == pytest.approx((1 + 22 / 38) / 2, rel=1e-4)
    assert found.score_change == pytest.approx(0.1, rel=1e-4)
    assert found.layout == layout


def test_the_command_prints_it_and_guards_a_build(
    tmp_path: Path, pictures: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = [str(tmp_path / name) for name in ("a.onnx", "b.onnx")]
    for path, boxes in zip(pair, (TRUTH, TRUTH[:2]), strict=True):
        onnx.save(detector(head("yolov8", boxes)), path)
    np.savez(tmp_path / "data.npz", x=pictures)
    arguments = ["compare", *pair, "--data", str(tmp_path / "data.npz"), "--boxes", "auto"]
    assert main([*arguments, "--fail-under", "0.7"]) == 0
    assert "F1 0.8000" in capsys.readouterr().out
    assert main([*arguments, "--fail-under", "0.9", "--json"]) == 1
    captured = capsys.readouterr()
    found: dict[str, Any] = json.loads(captured.out)["boxes"]
    assert found["recall"] == pytest.approx(2 / 3)
    assert found["precision"] == 1
    assert "the F1 of the boxes of the second model is 0.8, below" in captured.err


def test_overlapping_boxes_of_one_class_are_suppressed() -> None:
    corners = np.array(
        [[0, 0, 10, 10], [1, 0, 11, 10], [1, 0, 11, 10], [8, 0, 18, 10], [5, 0, 15, 10]], float
    )
    kinds = np.array([0, 0, 1, 0, 0])
    # Box 1 overlaps box 0 by 9/11; box 2 has another class; box 4 overlaps box 0 by 5/15, box 3 by 7/13.
    assert suppressed(corners, kinds, 0.45).tolist() == [0, 2, 3]
    assert suppressed(corners, kinds, 0.6).tolist() == [0, 2, 3, 4]


def test_intersection_over_union() -> None:
    first = np.array([[0, 0, 4, 4], [10, 10, 12, 12]], float)
    second = np.array([[2, 2, 6, 6], [0, 0, 4, 4], [5, 5, 5, 5]], float)
    np.testing.assert_allclose(iou(first, second), [[4 / 28, 1, 0], [0, 0, 0]])


def test_a_box_matches_once() -> None:
    def boxes(*rows: tuple[float, float, float, float]) -> Boxes:
        count = len(rows)
        return Boxes(
            np.array(rows, float).reshape(-1, 4), np.linspace(1, 0.5, count), np.zeros(count, np.int64)
        )

    truth = boxes((0, 0, 10, 10), (100, 0, 110, 10))
    found = boxes((1, 0, 11, 10), (0, 0, 10, 10), (100, 0, 110, 10))
    assert [pair[:2] for pair in matched(found, truth)] == [(0, 0), (2, 1)]
    assert matched(boxes(), truth) == matched(found, boxes()) == []


@pytest.mark.parametrize(
    ("output", "layout", "message"),
    [
        (head("yolov8", []), "auto", "finds no box of a score of 0.25"),
        (head("yolov8", TRUTH), "yolo9000", "unknown layout 'yolo9000'"),
        (np.zeros((1, 7, 50), np.float32), "auto", "no output has the shape of a known head"),
        (np.zeros((1, 10), np.float32), "yolov8", "no output has the shape of a known head"),
        (head("yolov8", TRUTH).transpose(0, 2, 1).copy(), "auto", "no output has the shape of a known head"),
        (np.zeros((1, 50, 8), np.float32), "yolox", "50 rows are not the cells of an input of 64x96"),
        (np.zeros((1, 50, 5), np.float32), "yolov5", "is not of the layout yolov5"),
        (10 * head("yolov8", TRUTH), "auto", "scores from 0 to 9 are not those of the layout yolov8"),
    ],
)
def test_wrong_heads(output: np.ndarray, layout: str, message: str, pictures: np.ndarray) -> None:
    model = detector(output)
    with pytest.raises(xslim.XSlimError, match=message):
        xslim.compare(model, model, pictures, boxes=layout)


def test_two_heads_or_no_picture_are_refused(pictures: np.ndarray) -> None:
    two = detector(head("yolov8", TRUTH))
    two.graph.node.append(NODE("Identity", ["y"], ["z2"]))
    two.graph.output.append(onnx.helper.make_tensor_value_info("z2", 1, [1, 7, len(CELLS)]))
    with pytest.raises(xslim.ModelError, match="several outputs have"):
        xslim.compare(two, two, pictures, boxes="auto")
    rows = models.model([NODE("Relu", ["x"], ["y"])], {"x": [1, 20, 6]}, {"y": [1, 20, 6]})
    with pytest.raises(xslim.ModelError, match="boxes need one input of pictures"):
        xslim.compare(rows, rows, boxes="auto")
