"""How many boxes of one detector another one finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from xslim.commands.boxes import AUTO, CONFIDENCE, OVERLAP, WANTED, Boxes, boxes_of, iou, layout_of
from xslim.errors import DataError, ModelError
from xslim.runtime import Feeds

Array = NDArray[np.generic]

MATCH = 0.5
"""Least intersection over union of two boxes that count as the same object."""
IMAGE_RANK = 4
CHANNEL_COUNTS = (1, 3, 4)


@dataclass(frozen=True)
class Detections:
    """The boxes of the second model against those of the first.

    Attributes
    ----------
    output, layout : str
        The output that holds the boxes, and how it is read.
    first, second, common : int
        Number of boxes of each model, and of those that both have.
    mean_iou : float
        Mean intersection over union of the common boxes.
    score_change : float
        Mean absolute difference of their scores.
    """

    output: str
    layout: str
    first: int
    second: int
    common: int
    mean_iou: float
    score_change: float

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, with the boxes of the first model as the truth."""
        return 2 * self.common / (self.first + self.second)

    def as_json(self) -> dict[str, object]:
        """Return plain data for JSON."""
        precision = self.common / self.second if self.second else None
        return asdict(self) | {"f1": self.f1, "precision": precision, "recall": self.common / self.first}

    def lines(self) -> Iterator[str]:
        """Return what the command prints."""
        yield f"boxes of output {self.output} ({self.layout}), score >= {CONFIDENCE}, NMS at {OVERLAP}"
        yield f"first {self.first}, second {self.second}, common {self.common} (IoU >= {MATCH}, same class)"
        yield (
            f"F1 {self.f1:.4f}, mean IoU {self.mean_iou:.3f}, "
            f"mean difference of the scores {self.score_change:.3f}"
        )


def matched(found: Boxes, truth: Boxes, least: float = MATCH) -> list[tuple[int, int, float]]:
    """Match boxes greedily: the found box of the highest score takes the nearest free box of its class.

    Returns
    -------
    list of (int, int, float)
        The place of the found box, that of the other one, and their intersection over union.
    """
    overlaps = iou(found.corners, truth.corners)
    overlaps[found.classes[:, None] != truth.classes[None]] = 0
    pairs = []
    for place in range(len(found)):
        other = int(overlaps[place].argmax()) if len(truth) else -1
        if other >= 0 and overlaps[place, other] >= least:
            pairs.append((place, other, float(overlaps[place, other])))
            overlaps[:, other] = 0
    return pairs


class Detector:
    """The boxes of two models, sample after sample."""

    def __init__(self, layout: str, outputs: Sequence[str]) -> None:
        self._layout = layout
        self._outputs = outputs
        self._place: int | None = None
        self._counts = [0, 0]
        self._overlaps: list[float] = []
        self._changes: list[float] = []

    def add(self, feeds: Feeds, first: Sequence[Array], second: Sequence[Array]) -> None:
        """Add what both models found in the pictures of one run."""
        size = _size(feeds)
        if self._place is None:
            self._place, self._layout = self._head(first, size)
        pictures = [boxes_of(outputs[self._place], size, self._layout) for outputs in (first, second)]
        for truth, found in zip(*pictures, strict=True):
            self._counts[0] += len(truth)
            self._counts[1] += len(found)
            for place, other, overlap in matched(found, truth):
                self._overlaps.append(overlap)
                self._changes.append(abs(float(found.scores[place] - truth.scores[other])))

    def result(self) -> Detections:
        """Return the figures of all samples.

        Raises
        ------
        DataError
            The first model finds nothing.
        """
        if not self._counts[0]:
            raise DataError(
                f"the first model finds no box of a score of {CONFIDENCE} or more",
                hint="give pictures, preprocessed as in training: --data with the configuration",
            )
        return Detections(
            output=self._outputs[self._place or 0],
            layout=self._layout,
            first=self._counts[0],
            second=self._counts[1],
            common=len(self._overlaps),
            mean_iou=float(np.mean(self._overlaps)) if self._overlaps else 0.0,
            score_change=float(np.mean(self._changes)) if self._changes else 0.0,
        )

    def _head(self, outputs: Sequence[Array], size: tuple[int, int]) -> tuple[int, str]:
        """Return the place of the output with the boxes, and its layout."""
        layouts = [layout_of(output, size) for output in outputs]
        fitting = [place for place, layout in enumerate(layouts) if layout is not None]
        if self._layout != AUTO:
            fitting = fitting or [place for place, output in enumerate(outputs) if _rank(output) == 3]
        if len(fitting) != 1:
            shapes = ", ".join(
                f"{name} {getattr(output, 'shape', 'sequence')}"
                for name, output in zip(self._outputs, outputs, strict=True)
            )
            problem = "no output has" if not fitting else "several outputs have"
            raise ModelError(f"{problem} the shape of a known head of boxes: {shapes}", hint=WANTED)
        known = layouts[fitting[0]] if self._layout == AUTO else self._layout
        assert known is not None
        return fitting[0], known


def _rank(output: object) -> int | None:
    """Return the number of axes; None for a sequence and for an absent optional output."""
    return output.ndim if isinstance(output, np.ndarray) else None


def _size(feeds: Feeds) -> tuple[int, int]:
    """Return height and width of the pictures."""
    images = [array.shape for array in feeds.values() if array.ndim == IMAGE_RANK]
    if len(images) != 1:
        raise ModelError("boxes need one input of pictures", hint="rate such a model with --metric")
    shape = images[0]
    return (shape[2], shape[3]) if shape[1] in CHANNEL_COUNTS else (shape[1], shape[2])
