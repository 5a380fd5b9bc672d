"""Boxes from the raw output of common detectors, with non-maximum suppression."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xslim.errors import ConfigError, ModelError

Floats = NDArray[np.float64]
Size = tuple[int, int]

AUTO = "auto"
STRIDES = ((8, 16, 32), (8, 16, 32, 64))
"""Strides of the grids of cells, without and with a fourth, coarser one."""
ANCHORS = 3
"""Boxes for each cell in YOLOv3 to v7; later versions have one."""
MOST_ROWS = 1000
"""Largest number of boxes of a head that has suppressed overlapping ones itself."""
CONFIDENCE = 0.25
OVERLAP = 0.45
MOST_CANDIDATES = 3000
MOST_BOXES = 300


@dataclass(frozen=True)
class Boxes:
    """What a detector found in one picture.

    Attributes
    ----------
    corners : array of shape (n, 4)
        Left, top, right and bottom, in pixels of the model's input.
    scores : array of shape (n,)
        Confidence, 0 to 1, in descending order.
    classes : array of shape (n,)
        Class numbers.
    """

    corners: Floats
    scores: Floats
    classes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)


def _yolov8(rows: Floats, _: Size) -> tuple[Floats, Floats]:
    return _corners(rows[:, :2], rows[:, 2:4]), rows[:, 4:]


def _yolov5(rows: Floats, _: Size) -> tuple[Floats, Floats]:
    return _corners(rows[:, :2], rows[:, 2:4]), rows[:, 4:5] * rows[:, 5:]


def _yolox(rows: Floats, size: Size) -> tuple[Floats, Floats]:
    strides = next(strides for strides in STRIDES if _cells(size, strides) == len(rows))
    grids = []
    for stride in strides:
        y, x = np.mgrid[: size[0] // stride, : size[1] // stride]
        grids.append(np.stack([x.ravel(), y.ravel(), np.full(x.size, stride)], axis=1))
    cells = np.concatenate(grids).astype(np.float64)
    # Larger exponents would be boxes of more than a million cells.
    sides = np.exp(np.minimum(rows[:, 2:4], 14)) * cells[:, 2:]
    return _corners((rows[:, :2] + cells[:, :2]) * cells[:, 2:], sides), rows[:, 4:5] * rows[:, 5:]


def _end2end(rows: Floats, _: Size) -> tuple[Floats, Floats]:
    classes = np.maximum(rows[:, 5], 0).astype(np.int64)
    scores = np.zeros((len(rows), int(classes.max(initial=0)) + 1))
    scores[np.arange(len(rows)), classes] = rows[:, 4]
    return rows[:, :4], scores


LAYOUTS: Mapping[str, Callable[[Floats, Size], tuple[Floats, Floats]]] = {
    "yolov8": _yolov8,
    "yolov5": _yolov5,
    "yolox": _yolox,
    "end2end": _end2end,
}
"""Rows of a head to corners and a score for each class.

yolov8 (also 9, 11 and 12): output (1, 4 + classes, cells), centre and sides in pixels, scores.
yolov5 (also 7): output (1, 3 * cells, 5 + classes), the same with an objectness before the scores.
yolox: output (1, cells, 5 + classes), centres relative to the cell and logarithms of sides, both in strides.
end2end: output (1, n, 6), corners, score and class; the head has suppressed overlapping boxes.
"""


def layout_of(output: object, size: Size) -> str | None:
    """Return the name of the layout of a head's output for inputs of `size` (height, width), or None.

    None means that the shape leaves a doubt. Rows of one box per cell are those of yolox if centres are near
    their cell and sides are logarithms; decoded, they could hold an objectness or not.
    """
    if not isinstance(output, np.ndarray) or output.ndim != 3:
        return None
    rows, columns = output.shape[1:]
    cells = [_cells(size, strides) for strides in STRIDES]
    if columns in cells and rows > 4:
        return "yolov8"
    if columns > 5 and rows in [ANCHORS * count for count in cells]:
        return "yolov5"
    if columns > 5 and rows in cells:
        raw = np.abs(output[..., :2]).max() < max(size) / 2 and output[..., 2:4].min() < 0
        return "yolox" if raw else None
    return "end2end" if columns == 6 and rows <= MOST_ROWS else None


def check_layout(layout: str) -> None:
    """Refuse the name of an unknown layout.

    Raises
    ------
    ConfigError
        There is no such layout.
    """
    if layout not in (AUTO, *LAYOUTS):
        known = ", ".join((AUTO, *LAYOUTS))
        raise ConfigError(f"unknown layout {layout!r}", where="--boxes", hint=f"known are {known}")


def boxes_of(
    output: NDArray[Any], size: Size, layout: str, confidence: float = CONFIDENCE, overlap: float = OVERLAP
) -> list[Boxes]:
    """Return the boxes of every picture of a batch.

    Parameters
    ----------
    output : array of three dimensions
        The output of the head.
    size : pair of int
        Height and width of the model's input.
    layout : str
        A key of `LAYOUTS`.
    confidence : float
        Least score.
    overlap : float
        Of two boxes of one class with a larger intersection over union, that of the lower score is dropped.

    Raises
    ------
    ModelError
        The output has not the shape of the layout, or its scores are not from 0 to 1.
    """
    rows = output.astype(np.float64)
    if layout == "yolov8" and rows.ndim == 3:
        rows = rows.transpose(0, 2, 1)
    if rows.ndim != 3 or rows.shape[2] < (5 if layout == "yolov8" else 6):
        raise ModelError(f"an output of shape {output.shape} is not of the layout {layout}", hint=WANTED)
    if layout == "yolox" and rows.shape[1] not in [_cells(size, strides) for strides in STRIDES]:
        raise ModelError(
            f"{rows.shape[1]} rows are not the cells of an input of {size[0]}x{size[1]}", hint=WANTED
        )
    return [_kept(*LAYOUTS[layout](picture, size), layout, confidence, overlap) for picture in rows]


WANTED = f"--boxes takes {', '.join((AUTO, *LAYOUTS))}; rate other heads with --metric"


def _kept(corners: Floats, scores: Floats, layout: str, confidence: float, overlap: float) -> Boxes:
    if scores.size and not (scores.min() >= -0.01 and scores.max() <= 1.01):
        raise ModelError(
            f"scores from {scores.min():.3g} to {scores.max():.3g} are not those of the layout {layout}",
            hint="logits, key points and mask coefficients are no scores: rate such a head with --metric",
        )
    classes, best = scores.argmax(axis=1), scores.max(axis=1)
    order = np.argsort(-best, kind="stable")
    order = order[best[order] >= confidence][:MOST_CANDIDATES]
    corners, best, classes = corners[order], best[order], classes[order]
    kept = np.arange(len(order)) if layout == "end2end" else suppressed(corners, classes, overlap)
    kept = kept[:MOST_BOXES]
    return Boxes(corners[kept], best[kept], classes[kept].astype(np.int64))


def suppressed(corners: Floats, classes: NDArray[np.integer], overlap: float) -> NDArray[np.int64]:
    """Return the places of the boxes that stay, for boxes sorted by descending score."""
    kept: list[int] = []
    waiting = np.arange(len(corners))
    while waiting.size and len(kept) < MOST_BOXES:
        first, rest = int(waiting[0]), waiting[1:]
        kept.append(first)
        near = iou(corners[first : first + 1], corners[rest])[0] > overlap
        waiting = rest[~(near & (classes[rest] == classes[first]))]
    return np.array(kept, np.int64)


def iou(first: Floats, second: Floats) -> Floats:
    """Return the intersection over union of every box of the first with every box of the second set."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None] - common
    found: Floats = common / np.maximum(union, 1e-12)
    return found


def _corners(centres: Floats, sides: Floats) -> Floats:
    return np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)


def _cells(size: Size, strides: tuple[int, ...]) -> int:
    return sum((size[0] // stride) * (size[1] // stride) for stride in strides)
