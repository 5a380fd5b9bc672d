"""Resizing as the ImageNet presets mean it: a triangle filter that widens when shrinking.

This is what Pillow calls ``BILINEAR`` and torchvision ``antialias=True``: each output pixel is the average
of the input pixels around its centre, weighted by a triangle of half-width ``max(scale, 1)`` and rounded to
eight bits after each direction. OpenCV has no such filter.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.generic]

# Output rows per matrix product: the weights are a narrow band, so small blocks skip most of the zeros.
_BLOCK = 32


def resize_antialiased(
    image: Image, size: tuple[int, int], crop: tuple[int, int, int, int]
) -> NDArray[np.float32]:
    """Resize an image and cut a window out of the result; only the window is computed.

    Parameters
    ----------
    image : array, shape (height, width, channels)
        Any real type; values from 0 to 255.
    size : (int, int)
        Height and width of the whole resized image.
    crop : (int, int, int, int)
        Top, left, height and width of the window.

    Returns
    -------
    float32 array, shape (channels, crop height, crop width)
        Whole numbers from 0 to 255.
    """
    top, left, height, width = crop
    planes = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
    channels, rows, columns = planes.shape
    narrow = np.empty((channels, rows, width), np.float32)
    for part, source, weights in _bands(columns, size[1], left, width):
        np.matmul(planes[:, :, source], weights.T, out=narrow[:, :, part])
    _round(narrow)
    result = np.empty((channels, height, width), np.float32)
    for part, source, weights in _bands(rows, size[0], top, height):
        np.matmul(weights, narrow[:, source], out=result[:, part])
    return _round(result)


def _round(values: NDArray[np.float32]) -> NDArray[np.float32]:
    values += np.float32(0.5)
    return np.floor(values, out=values)


@lru_cache(maxsize=256)
def _bands(
    size_in: int, size_out: int, start: int, count: int
) -> tuple[tuple[slice, slice, NDArray[np.float32]], ...]:
    """Cut the filter's matrix into blocks: (output lines, input lines, weights)."""
    scale = size_in / size_out
    reach = max(scale, 1.0)
    bands = []
    for first in range(0, count, _BLOCK):
        number = min(_BLOCK, count - first)
        centres = (np.arange(start + first, start + first + number) + 0.5) * scale
        low = max(int(centres[0] - reach + 0.5), 0)
        high = min(int(centres[-1] + reach + 0.5), size_in)
        distance = np.abs(np.arange(low, high) + 0.5 - centres[:, None]) / reach
        weights = np.maximum(1 - distance, 0)
        weights /= weights.sum(axis=1, keepdims=True)
        bands.append((slice(first, first + number), slice(low, high), weights.astype(np.float32)))
    return tuple(bands)
