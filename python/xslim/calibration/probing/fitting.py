"""Compute mean and deviation of the pixels from the statistics of the first BatchNormalization.

Between the input `x` and the first BatchNormalization there usually is one convolution, so the tensor is
affine in the pixels: with ``x_k = a * p_k - b_k``, it is ``c + a * sum(A p_k) - sum(b_k * A 1_k)``. The map
is measured by running the model on zeros, on ones in one channel, and on the images. Then `a` follows from
the variances of the channels, and all `b_k` by least squares from their means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xslim.calibration.probing.candidates import FITTED, Normalisation
from xslim.calibration.probing.statistics import Norm

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]
Run = Callable[[Floats], Doubles]

ROUNDS = 4
AFFINE = 1e-3
"""Largest deviation from an affine map, relative to the largest value, that counts as rounding."""


@dataclass(frozen=True)
class _Answer:
    """What the map makes of one image, all of shape (channels, positions).

    Attributes
    ----------
    constant : array
        The tensor for zeros of the size of the image.
    ones : list of array
        The change by ones in one channel, for every channel.
    image : array
        The change by the image.
    """

    constant: Doubles
    ones: list[Doubles]
    image: Doubles


def fitted(norm: Norm, pixels: Sequence[Floats], run: Run) -> Normalisation | None:
    """Return the mean and deviation that bring the tensor of the norm closest to its statistics.

    Parameters
    ----------
    norm : Norm
        The first BatchNormalization.
    pixels : sequence of array, shape (channels, height, width)
        Images with values from 0 to 255, colours in the order RGB. Their sizes may differ.
    run : callable
        Computes the tensor, of shape (channels, positions), from an input of the shape of an image.

    Returns
    -------
    Normalisation or None
        None where the map is not affine or has no solution.
    """
    count = len(pixels[0])
    answers = list(_answers(pixels, run))
    first = answers[0]
    # A map that is affine gives for half of the image half of the difference.
    half = run(np.float32(0.5) * pixels[0]) - first.constant
    # An overflow of float16 leaves no number that could be compared.
    bound = AFFINE * max(float(np.abs(first.image).max()), 1e-12)
    if not np.abs(half - first.image / 2).max() <= bound:
        return None
    offset = _mean(answer.constant.mean(axis=1) for answer in answers)
    bases = _mean(np.stack([one.mean(axis=1) for one in answer.ones], axis=1) for answer in answers)
    means = _mean(answer.image.mean(axis=1) for answer in answers)
    if not all(np.isfinite(part).all() for part in (offset, bases, means)):
        return None
    deviation = np.sqrt(norm.variance + 1e-12)
    shifts: Doubles = np.zeros(count)
    scale = 1.0
    for _ in range(ROUNDS):
        solved = _scale(answers, shifts, norm)
        if solved is None:
            return None
        scale = solved
        wanted = (offset + scale * means - norm.mean) / deviation
        solution, *_ = np.linalg.lstsq(bases / deviation[:, None], wanted, rcond=1e-3)
        shifts = np.asarray(solution, np.float64)
    std = 1 / scale
    rounded = round(float(std), 1 if std > 2 else 4)
    mean = tuple(round(float(shift * std), 1) for shift in shifts)
    return Normalisation(FITTED, mean, (rounded,) * count) if rounded > 0 else None


def _answers(pixels: Sequence[Floats], run: Run) -> Iterator[_Answer]:
    """Run the map on every image, and on zeros and ones once for every size."""
    known: dict[tuple[int, ...], tuple[Doubles, list[Doubles]]] = {}
    for image in pixels:
        if image.shape not in known:
            constant = run(np.zeros_like(image))
            ones = [run(_only(np.ones_like(image), channel)) - constant for channel in range(len(image))]
            known[image.shape] = constant, ones
        constant, ones = known[image.shape]
        yield _Answer(constant, ones, run(image) - constant)


def _only(image: Floats, channel: int) -> Floats:
    alone = np.zeros_like(image)
    alone[channel] = image[channel]
    return alone


def _mean(parts: Iterable[Doubles]) -> Doubles:
    mean: Doubles = np.mean(list(parts), axis=0)
    return mean


def _scale(answers: Sequence[_Answer], shifts: Doubles, norm: Norm) -> float | None:
    """Return the median of the scales that give the shifted and scaled images the variance of the norm."""
    moved = [answer.constant - np.tensordot(shifts, np.stack(answer.ones), axes=1) for answer in answers]
    rests = [part - part.mean(axis=1, keepdims=True) for part in moved]
    mean = _mean(answer.image.mean(axis=1) for answer in answers)[:, None]
    images = [answer.image - mean for answer in answers]
    square = _mean(np.square(image).mean(axis=1) for image in images)
    mixed = _mean((image * rest).mean(axis=1) for image, rest in zip(images, rests, strict=True))
    missing = norm.variance - _mean(np.square(rest).mean(axis=1) for rest in rests)
    usable = (square > 0) & (norm.variance > 1e-3 * np.median(norm.variance))
    inner = np.square(mixed) + square * missing
    usable &= inner >= 0
    if not usable.any():
        return None
    scale = float(np.median((np.sqrt(inner[usable]) - mixed[usable]) / square[usable]))
    return scale if np.isfinite(scale) and scale > 0 else None
