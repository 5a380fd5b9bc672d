"""How an image gets the size of the input: stretched, letterboxed, or by one of the two ImageNet presets.

The ImageNet presets resize to 1 / 0.875 of the input's size with the aspect kept, and crop the centre.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xslim.calibration.geometry import ImageLayout

Pixels = NDArray[np.generic]

BORDER = 114
"""Grey of the borders of a letterbox, as in the training of YOLO models."""


def pt_imagenet(image: Pixels, layout: ImageLayout) -> Pixels:
    """Resize and crop like torchvision: antialiased triangle filter, offset of the crop rounded to nearest.

    Parameters
    ----------
    image : array, shape (height, width, channels)
        Values from 0 to 255.
    layout : ImageLayout
        The size to produce.

    Returns
    -------
    uint8 array, shape (layout.height, layout.width, channels)
    """
    from xslim.kernels import resize_antialiased

    size = _covering_size(image, layout)
    # torchvision uses Python's round as well, which rounds halves to even.
    top, left = round((size[0] - layout.height) / 2), round((size[1] - layout.width) / 2)
    return resize_antialiased(_eight_bits(image), size, (top, left, layout.height, layout.width))


def imagenet(image: Pixels, layout: ImageLayout) -> Pixels:
    """Resize with OpenCV's ``INTER_AREA`` and crop, offset of the crop rounded down.

    Parameters and result are those of `pt_imagenet`, but the result keeps the element type of the image.
    """
    import cv2

    height, width = _covering_size(image, layout)
    resized: Pixels = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    resized = resized.reshape(height, width, -1)
    top, left = (height - layout.height) // 2, (width - layout.width) // 2
    return resized[top : top + layout.height, left : left + layout.width]


def stretch(image: Pixels, layout: ImageLayout) -> Pixels:
    """Resize to the input's height and width with ``INTER_AREA``, without keeping the aspect ratio."""
    import cv2

    if image.shape[:2] == (layout.height, layout.width):
        return image
    resized: Pixels = cv2.resize(image, (layout.width, layout.height), interpolation=cv2.INTER_AREA)
    return resized.reshape(layout.height, layout.width, -1)


def letterbox(image: Pixels, layout: ImageLayout) -> Pixels:
    """Resize with the aspect kept until the image fits, in the middle of grey borders, as for detectors."""
    import cv2

    rows, columns = image.shape[:2]
    scale = min(layout.height / rows, layout.width / columns)
    height, width = max(1, round(rows * scale)), max(1, round(columns * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(image, (width, height), interpolation=way).reshape(height, width, -1)
    result: Pixels = np.full((layout.height, layout.width, image.shape[2]), BORDER, image.dtype)
    top, left = (layout.height - height) // 2, (layout.width - width) // 2
    result[top : top + height, left : left + width] = resized
    return result


def _covering_size(image: Pixels, layout: ImageLayout) -> tuple[int, int]:
    """Return the smallest size that has the image's aspect ratio and covers the target enlarged by 8 / 7."""
    rows, columns = image.shape[:2]
    height, width = layout.height * 8 // 7, layout.width * 8 // 7
    if rows * width <= columns * height:
        return height, max(height * columns // rows, width)
    return max(width * rows // columns, height), width


def _eight_bits(image: Pixels) -> NDArray[np.uint8]:
    """Round values from 0 to 255 to a contiguous uint8 image."""
    return np.ascontiguousarray(np.rint(image) if image.dtype.kind == "f" else image, np.uint8)
