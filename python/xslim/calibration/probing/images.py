"""Read calibration images as pixels, in every geometry that a configuration can name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xslim.calibration.decode import ImageDecoder
from xslim.calibration.geometry import ImageLayout
from xslim.calibration.lists import Entry, evenly_spread
from xslim.calibration.opencv import opencv
from xslim.calibration.probing.candidates import Floats
from xslim.config import InputParameters

MOST_IMAGES = 24
SAME_ASPECT = 0.02
"""Largest relative difference of proportions at which all geometries give nearly the same image."""

STRETCHED = "stretched"
GEOMETRIES: dict[str, str | None] = {
    STRETCHED: None,
    "PT_IMAGENET": "PT_IMAGENET",
    "LETTERBOX": "LETTERBOX",
}
"""Name of each geometry, and its ``preprocess_file``."""


def pixels_of(entries: Sequence[Entry], layout: ImageLayout, preset: str | None = None) -> list[Floats]:
    """Read images as (channels, height, width) with values from 0 to 255 in the order BGR.

    Raises
    ------
    DataError
        A file is not an image.
    """
    plain = InputParameters(color_format="bgr", preprocess_file=preset)
    planar = ImageLayout(layout.channels, layout.height, layout.width, channels_last=False)
    decoder = ImageDecoder(planar, np.dtype(np.float32), plain)
    return [np.asarray(decoder.decode(entry), np.float32) for entry in entries]


def views_of(entries: Sequence[Entry], layout: ImageLayout, usual: str | None) -> dict[str, list[Floats]]:
    """Read images in the usual geometry and, where the proportions of the files differ, in the others."""
    chosen = [entries[position] for position in evenly_spread(len(entries), MOST_IMAGES)]
    first = next(name for name, preset in GEOMETRIES.items() if preset == usual)
    names = [first] if _fill(chosen, layout) else [first, *(name for name in GEOMETRIES if name != first)]
    return {name: pixels_of(chosen, layout, GEOMETRIES[name]) for name in names}


def usual_aspect(entries: Sequence[Entry]) -> float:
    """Return the median of width divided by height over some of the images."""
    chosen = [entries[position] for position in evenly_spread(len(entries), MOST_IMAGES)]
    return float(np.median([_aspect(entry) for entry in chosen]))


def _fill(entries: Sequence[Entry], layout: ImageLayout) -> bool:
    """Whether all images have the proportions of the input."""
    wanted = layout.width / layout.height
    return all(abs(_aspect(entry) / wanted - 1) <= SAME_ASPECT for entry in entries)


def _aspect(entry: Entry) -> float:
    cv2 = opencv()
    image = cv2.imread(str(entry.path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    return 1.0 if image is None else image.shape[1] / image.shape[0]
