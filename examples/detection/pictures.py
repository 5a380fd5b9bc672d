"""Pictures as detectors want them, and boxes back in the pixels of the picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

GREY = 114
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")


@dataclass(frozen=True)
class Preprocessing:
    """How a family of detectors was trained.

    Attributes
    ----------
    bgr : bool
        Whether blue comes first, as OpenCV reads it.
    divisor : float
        What pixels from 0 to 255 are divided by.
    centred : bool
        Whether the grey borders are on all sides, or only right and below.
    """

    bgr: bool
    divisor: float
    centred: bool


YOLO = Preprocessing(bgr=False, divisor=255, centred=True)
YOLOX = Preprocessing(bgr=True, divisor=1, centred=False)


@dataclass(frozen=True)
class Place:
    """Where the picture lies in the model's input: the factor of both sides, the border left and above."""

    factor: float
    left: int
    top: int

    def in_picture(self, corners: np.ndarray) -> np.ndarray:
        """Return boxes of the model's input as boxes of the picture."""
        return (corners - (self.left, self.top, self.left, self.top)) / self.factor


def load(path: Path, size: tuple[int, int], how: Preprocessing) -> tuple[np.ndarray, Place]:
    """Read a picture; return the model's input (3, height, width), and the place of the picture in it."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise SystemExit(f"{path} is no picture that OpenCV reads")
    height, width = picture.shape[:2]
    factor = min(size[0] / height, size[1] / width)
    inner = round(width * factor), round(height * factor)
    left, top = ((size[1] - inner[0]) // 2, (size[0] - inner[1]) // 2) if how.centred else (0, 0)
    canvas = np.full((*size, 3), GREY, np.uint8)
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(picture, inner)
    if not how.bgr:
        canvas = canvas[..., ::-1]
    values = canvas.transpose(2, 0, 1).astype(np.float32) / np.float32(how.divisor)
    return np.ascontiguousarray(values), Place(factor, left, top)


def listed(folder: Path) -> list[Path]:
    """Return the pictures of a folder in the order of their names."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise SystemExit(f"{folder} holds no picture ({', '.join(SUFFIXES)})")
    return found
