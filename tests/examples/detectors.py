"""A detector made by hand: white squares of 8 pixels, in the layout of YOLOX."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import helper

from tests import models

SIDE, CELL = 64, 8
CLASSES = 2
SHRUNK = np.exp(-0.1)
"""Side of the detector's boxes relative to that of a square."""


def square_finder() -> onnx.ModelProto:
    """Build a model that says of every cell of 8 pixels how bright it is."""
    mean = np.zeros((4, 3, CELL, CELL), np.float32)
    mean[0] = 1 / mean[0].size
    mean[1:] = models.draw(0, 3, 3, CELL, CELL)
    weights = {
        "w": mean,
        "obj_w": np.array([0.1, 0, 0, 0], np.float32).reshape(1, 4, 1, 1),
        "obj_b": np.float32([-12.8]),
        "cls_w": 1e-5 * models.draw(1, CLASSES, 4, 1, 1),
        "cls_b": np.float32([6, -6]),
        "reg_w": 1e-5 * models.draw(2, 4, 4, 1, 1),
        "reg_b": np.float32([0.5, 0.5, -0.1, -0.1]),
        "none_b": np.float32([-12]),
        "none_w": 1e-5 * models.draw(3, 1, 4, 1, 1),
        "flat": np.array([1, 5 + CLASSES, -1], np.int64),
    }
    nodes = [helper.make_node("Conv", ["x", "w"], ["f8"], strides=[CELL, CELL])]
    for small, large in (("f8", "f16"), ("f16", "f32")):
        nodes.append(
            helper.make_node("MaxPool", [small], [large], kernel_shape=[2, 2], strides=[2, 2], name=large)
        )
    for level in ("8", "16", "32"):
        objects = "obj" if level == "8" else "none"
        for part, kind in (("obj", objects), ("cls", "cls"), ("reg", "reg")):
            inputs = [f"f{level}", f"{kind}_w", f"{kind}_b"]
            nodes.append(helper.make_node("Conv", inputs, [f"{part}{level}"], name=f"conv_{part}{level}"))
        nodes += [
            helper.make_node("Sigmoid", [f"obj{level}"], [f"o{level}"]),
            helper.make_node("Sigmoid", [f"cls{level}"], [f"c{level}"]),
            helper.make_node("Concat", [f"reg{level}", f"o{level}", f"c{level}"], [f"h{level}"], axis=1),
            helper.make_node("Reshape", [f"h{level}", "flat"], [f"r{level}"]),
        ]
    nodes += [
        helper.make_node("Concat", ["r8", "r16", "r32"], ["all"], axis=2),
        helper.make_node("Transpose", ["all"], ["y"], perm=[0, 2, 1]),
    ]
    return models.model(nodes, {"x": [1, 3, SIDE, SIDE]}, {"y": [1, 84, 5 + CLASSES]}, weights)


def write_pictures(folder: Path, count: int) -> Path:
    """Write noise with white squares, and the labels of the squares as COCO does; return the labels."""
    generator = np.random.default_rng(1)
    folder.mkdir()
    images, annotations = [], []
    for number in range(count):
        picture = generator.integers(0, 60, (SIDE, SIDE, 3)).astype(np.uint8)
        for cell in generator.choice(64, 3, replace=False):
            y, x = CELL * (int(cell) // 8), CELL * (int(cell) % 8)
            picture[y : y + CELL, x : x + CELL] = 255
            annotations.append({"image_id": number, "category_id": 5, "bbox": [x, y, CELL, CELL]})
        cv2.imwrite(str(folder / f"{number}.png"), picture)
        images.append({"id": number, "file_name": f"{number}.png"})
    labels = folder.parent / "instances.json"
    categories = [{"id": 9, "name": "other"}, {"id": 5, "name": "square"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    labels.write_text(json.dumps(content), "utf-8")
    return labels
