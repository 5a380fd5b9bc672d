"""Usual ways of turning pixels from 0 to 255 into the input of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

COLOURS = 3
ORDERS = ("rgb", "bgr")

PER_IMAGE, FITTED = "each image by itself", "fitted"


@dataclass(frozen=True)
class Normalisation:
    """``(pixel - mean) / std``, with one number per channel in the order RGB, or one for a grey image.

    Attributes
    ----------
    label : str
        What the log calls the normalisation.
    mean, std : tuple of float
        On the scale from 0 to 255; both empty if every image is normalised by its own mean and deviation.
    """

    label: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @property
    def is_per_image(self) -> bool:
        """Whether a configuration cannot express the normalisation without a function of the user."""
        return not self.std

    def numbers(self, channels: int, order: str) -> tuple[list[float], list[float]]:
        """Return mean and deviation of every channel of an input, in its order of colours."""
        return _ordered(self.mean, channels, order), _ordered(self.std, channels, order)

    def apply(self, pixels: Floats, order: str) -> Floats:
        """Normalise pixels of shape (channels, height, width) whose colours are in the order BGR."""
        arranged = pixels[::-1] if order == "rgb" and len(pixels) == COLOURS else pixels
        if self.is_per_image:
            return np.ascontiguousarray((arranged - arranged.mean()) / (arranged.std() + 1e-6), np.float32)
        mean, std = (np.asarray(n, np.float32)[:, None, None] for n in self.numbers(len(pixels), order))
        return np.ascontiguousarray((arranged - mean) / std, np.float32)


def _ordered(values: Sequence[float], channels: int, order: str) -> list[float]:
    if len(values) == 1:
        return [values[0]] * channels
    if channels != COLOURS:
        return [sum(values) / len(values)] * channels
    return list(values if order == "rgb" else values[::-1])


NORMALISATIONS = (
    Normalisation("0 to 1", (0.0,), (255.0,)),
    Normalisation("ImageNet", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
    Normalisation("-1 to 1", (127.5,), (127.5,)),
    Normalisation("0 to 255", (0.0,), (1.0,)),
    Normalisation("ImageNet of Caffe", (123.68, 116.779, 103.939), (1.0,)),
    Normalisation(PER_IMAGE),
)
"""The candidates. Of those that fit equally well, the first is taken."""
