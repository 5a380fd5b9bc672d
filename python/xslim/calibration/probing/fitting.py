"""Compute mean and deviation of the pixels from the statistics of the first BatchNormalization.

Between the input `x` and the first BatchNormalization there usually is one convolution, so the tensor is
affine in the pixels: with ``x_k = a * p_k - b_k``, it is ``c + a * sum(A p_k) - sum(b_k * A 1_k)``. The map
is measured by running the model on zeros, on ones in one channel, and on the images. Then `a` follows from
the variances of the channels, and all `b_k` by least squares from their means.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from xslim.calibration.probing.candidates import FITTED, Normalisation
from xslim.calibration.probing.statistics import Norm

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

ROUNDS = 4
AFFINE = 1e-3
"""Largest deviation from an affine map, relative to the largest value, that counts as rounding."""


def fitted(norm: Norm, pixels: Sequence[Floats], run: Callable[[Floats], Doubles]) -> Normalisation | None:
    """Return the mean and deviation that bring the tensor of the norm closest to its statistics.

    Parameters
    ----------
    norm : Norm
        The first BatchNormalization.
    pixels : sequence of array, shape (channels, height, width)
        Images with values from 0 to 255, colours in the order RGB.
    run : callable
        Computes the tensor, of shape (channels, positions), from an input of the shape of an image.

    Returns
    -------
    Normalisation or None
        None where the map is not affine or has no solution.
    """
    count = len(pixels[0])
    nothing: Floats = np.zeros_like(pixels[0])
    constant = run(nothing)
    ones = [run(_only(np.ones_like(nothing), channel)) - constant for channel in range(count)]
    images = [run(image) - constant for image in pixels]
    # A map that is affine gives for half of the image half of the difference.
    half = run(np.float32(0.5) * pixels[0]) - constant
    if np.abs(half - images[0] / 2).max() > AFFINE * max(float(np.abs(images[0]).max()), 1e-12):
        return None
    offset = constant.mean(axis=1)
    bases = np.stack([one.mean(axis=1) for one in ones], axis=1)
    means = np.mean([image.mean(axis=1) for image in images], axis=0)
    deviation = np.sqrt(norm.variance + 1e-12)
    shifts: Doubles = np.zeros(count)
    scale = 1.0
    for _ in range(ROUNDS):
        moved = constant - np.tensordot(shifts, np.stack(ones), axes=1)
        solved = _scale(images, moved, norm)
        if solved is None:
            return None
        scale = solved
        wanted = (offset + scale * means - norm.mean) / deviation
        shifts, *_ = np.linalg.lstsq(bases / deviation[:, None], wanted, rcond=1e-3)
    std = 1 / scale
    mean = tuple(round(float(shift * std), 1) for shift in shifts)
    return Normalisation(FITTED, mean, (round(float(std), 1 if std > 2 else 4),) * count)


def _only(image: Floats, channel: int) -> Floats:
    alone = np.zeros_like(image)
    alone[channel] = image[channel]
    return alone


def _scale(images: Sequence[Doubles], moved: Doubles, norm: Norm) -> float | None:
    """Return the median of the scales that give ``moved + scale * image`` the variance of the norm."""
    mean = np.mean([image.mean(axis=1) for image in images], axis=0)[:, None]
    rest = moved - moved.mean(axis=1, keepdims=True)
    square = np.mean([np.square(image - mean).mean(axis=1) for image in images], axis=0)
    mixed = np.mean([((image - mean) * rest).mean(axis=1) for image in images], axis=0)
    missing = norm.variance - np.square(rest).mean(axis=1)
    usable = (square > 0) & (norm.variance > 1e-3 * np.median(norm.variance))
    inner = np.square(mixed) + square * missing
    usable &= inner >= 0
    if not usable.any():
        return None
    scale = float(np.median((np.sqrt(inner[usable]) - mixed[usable]) / square[usable]))
    return scale if np.isfinite(scale) and scale > 0 else None
