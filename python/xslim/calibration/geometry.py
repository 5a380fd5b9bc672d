"""The image part of a model input's shape: height, width, channels and their axis."""

from __future__ import annotations

from dataclasses import dataclass

from xslim.errors import DataError

_CHANNEL_COUNTS = (1, 3, 4)


@dataclass(frozen=True)
class ImageLayout:
    """Size, channels and axis order of the images that a model input takes.

    Attributes
    ----------
    channels, height, width : int
        The size that the model expects; `channels` is 1 (grey), 3 (colour) or 4 (colour and alpha).
    channels_last : bool
        Whether the layout is NHWC and not NCHW.
    """

    channels: int
    height: int
    width: int
    channels_last: bool


def image_layout(shape: tuple[int | None, ...], where: str) -> ImageLayout:
    """Read an image layout from an input shape, with or without a batch dimension.

    The layout is NHWC if the last dimension can be a number of channels and the first of the three image
    dimensions cannot.

    Raises
    ------
    DataError
        The shape is not that of an image, or a size in it is unknown.
    """
    if len(shape) not in (3, 4):
        raise DataError(
            f"an image cannot fill an input of shape {show_shape(shape)}", where=where, hint="use npy files"
        )
    sides = shape[-3:]
    channels_last = sides[2] in _CHANNEL_COUNTS and sides[0] not in _CHANNEL_COUNTS
    height, width, channels = sides if channels_last else (sides[1], sides[2], sides[0])
    if height is None or width is None or channels is None:
        raise DataError(
            f"the input's shape {show_shape(shape)} leaves the image size open",
            where=where,
            hint="set input_shape",
        )
    if channels not in _CHANNEL_COUNTS:
        raise DataError(
            f"an image has 1, 3 or 4 channels but the input of shape {show_shape(shape)} wants {channels}",
            where=where,
            hint="use npy files or a preprocess_file",
        )
    return ImageLayout(channels, height, width, channels_last)


def show_shape(shape: tuple[int | None, ...] | None) -> str:
    """Return a shape as text, with ``?`` for a symbolic dimension."""
    if shape is None:
        return "[unknown]"
    return "[" + ", ".join("?" if dim is None else str(dim) for dim in shape) + "]"
