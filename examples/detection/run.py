"""Quantise a detector; print the F1 of its boxes against float, and with labels the mAP of both.

python examples/detection/run.py MODEL PICTURES [--truth instances.json]

MODEL is an ONNX file whose head is that of YOLOv5, 7, 8, 9, 11, 12 (ultralytics) or YOLOX. PICTURES is a
folder. The first half of a random order calibrates and the other half is measured; with --calibration another
folder calibrates and all are measured.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from mean_ap import Detected, Truth, mean_average_precision
from pictures import YOLO, YOLOX, Place, Preprocessing, listed, load

import xslim
from xslim.commands.boxes import LAYOUTS, boxes_of, layout_of

CONFIDENCE_OF_MAP = 0.001
OVERLAP_OF_MAP = 0.65
"""What COCO is evaluated with: nearly all boxes, because precision is wanted at every recall."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--calibration", type=Path, help="folder of other pictures for calibration")
    parser.add_argument("--truth", type=Path, help="labels as COCO writes them (instances_*.json)")
    parser.add_argument("--layout", choices=LAYOUTS, help="by default read from the shapes")
    parser.add_argument(
        "--size", type=int, default=640, help="side of the input where the model leaves it open"
    )
    parser.add_argument("--finetune", type=int, default=1, help="finetune_level (default 1)")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output" / "detector.q.onnx")
    return parser.parse_args()


def input_size(model: Path, side: int) -> tuple[int, int]:
    """Return height and width of the model's input."""
    graph = onnx.load(model, load_external_data=False).graph
    constants = {item.name for item in graph.initializer}
    shape = next(item for item in graph.input if item.name not in constants).type.tensor_type.shape.dim
    return shape[2].dim_value or side, shape[3].dim_value or side


class Detector:
    """A model with the layout of its head."""

    def __init__(self, model: Path, size: tuple[int, int], layout: str | None) -> None:
        self.session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.size, self.layout = size, layout

    def head(self, inputs: np.ndarray) -> np.ndarray:
        """Return the output of the head for one input (3, height, width)."""
        name = self.session.get_inputs()[0].name
        return self.session.run(None, {name: inputs[None]})[0]

    def boxes(self, inputs: np.ndarray, place: Place) -> Detected:
        """Return the boxes in the pixels of the picture."""
        (found,) = boxes_of(self.head(inputs), self.size, self.layout, CONFIDENCE_OF_MAP, OVERLAP_OF_MAP)
        return Detected(place.in_picture(found.corners), found.scores, found.classes)


def recognised(model: Path, picture: Path, size: tuple[int, int]) -> str:
    """Return the layout of a model's head, from what it makes of one picture."""
    inputs, _ = load(picture, size, YOLOX)
    layout = layout_of(Detector(model, size, None).head(inputs), size)
    if layout is None:
        raise SystemExit(f"{model}: the shapes do not tell the layout of the head; name it with --layout")
    return layout


def read_truth(file: Path, pictures: Sequence[Path]) -> dict[str, Truth]:
    """Return the labels of the pictures by file name; classes are numbered by the sorted category ids."""
    labels = json.loads(file.read_text("utf-8"))
    number = {kind: place for place, kind in enumerate(sorted(row["id"] for row in labels["categories"]))}
    names = {row["id"]: Path(row["file_name"]).name for row in labels["images"]}
    rows: dict[str, list[dict]] = {path.name: [] for path in pictures if path.name in names.values()}
    for row in labels["annotations"]:
        if names.get(row["image_id"]) in rows:
            rows[names[row["image_id"]]].append(row)
    if not rows:
        raise SystemExit(f"{file} labels none of the pictures that are measured")
    return {name: truth_of(found, number) for name, found in rows.items()}


def truth_of(rows: list[dict], number: dict[int, int]) -> Truth:
    """Turn annotations, whose boxes are left, top, width, height, into corners."""
    boxes = np.array([row["bbox"] for row in rows], float).reshape(-1, 4)
    return Truth(
        np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1),
        np.array([number[row["category_id"]] for row in rows], int),
        np.array([bool(row.get("iscrowd", 0)) for row in rows], bool),
    )


def main() -> None:
    options = arguments()
    size = input_size(options.model, options.size)
    pictures = listed(options.pictures)
    random.Random(0).shuffle(pictures)
    half = len(pictures) // 2
    calibrating, measured = (
        (listed(options.calibration), pictures) if options.calibration else (pictures[:half], pictures[half:])
    )
    if not calibrating:
        raise SystemExit("one picture is not enough: give more, or --calibration")
    layout = options.layout or recognised(options.model, measured[0], size)
    how: Preprocessing = YOLOX if layout == "yolox" else YOLO
    xslim.quantize(
        options.model,
        (load(path, size, how)[0] for path in calibrating),
        output=options.output,
        finetune_level=options.finetune,
    )
    inputs = [load(path, size, how) for path in measured]
    found = xslim.compare(
        options.model, options.output, (row for row, _ in inputs), samples=len(inputs), boxes=layout
    )
    assert found.detections is not None
    print(f"{len(calibrating)} pictures for calibration, {len(measured)} measured")
    print(*found.detections.lines(), sep="\n")
    if options.truth:
        print_map(
            options, read_truth(options.truth, measured), dict(zip(measured, inputs, strict=True)), layout
        )


def print_map(
    options: argparse.Namespace,
    truth: dict[str, Truth],
    inputs: dict[Path, tuple[np.ndarray, Place]],
    layout: str,
) -> None:
    """Print the mAP of both models."""
    print(f"{'':<8}{'mAP@0.5':>10}{'mAP@0.5:0.95':>14}   ({len(truth)} labelled pictures)")
    for name, model in (("float", options.model), ("int8", options.output)):
        detector = Detector(model, input_size(model, options.size), layout)
        boxes = {path.name: detector.boxes(*row) for path, row in inputs.items() if path.name in truth}
        rough, fine = mean_average_precision(boxes, truth)
        print(f"{name:<8}{rough:>10.4f}{fine:>14.4f}")


if __name__ == "__main__":
    main()
