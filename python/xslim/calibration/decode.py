"""Decoders: each turns one calibration file into an array in the shape and type of the model input."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from xslim.calibration.arrays import Array, DType, check_convertible, converted, is_float
from xslim.calibration.geometry import ImageLayout, show_shape
from xslim.calibration.lists import Entry
from xslim.calibration.opencv import opencv
from xslim.calibration.presets import imagenet, letterbox, pt_imagenet, stretch
from xslim.config import InputParameters
from xslim.errors import DataError

_RESIZERS: dict[str | None, Callable[[Array, ImageLayout], Array]] = {
    None: stretch,
    "PT_IMAGENET": pt_imagenet,
    "IMAGENET": imagenet,
    "LETTERBOX": letterbox,
}

UNREADABLE = "check the file's permissions, or remove its line"
PARSING = Lock()
"""Held while the header of an npy file is parsed. The header is a Python literal, and CPython 3.11 sometimes
fails when several threads parse one at the same time."""


@dataclass(frozen=True)
class ImageDecoder:
    """Read images with OpenCV, resize and normalise them, and arrange the axes as the model expects.

    Attributes
    ----------
    layout : ImageLayout
        Size, channels and axis order that the model expects.
    dtype : numpy.dtype
        Element type of the input.
    parameters : InputParameters
        Colour order, mean, deviation and preset.
    """

    layout: ImageLayout
    dtype: DType
    parameters: InputParameters

    def shape(self, entry: Entry) -> tuple[int, ...]:
        """Return the shape of what `decode` returns: an image without a batch dimension."""
        del entry
        layout = self.layout
        if layout.channels_last:
            return layout.height, layout.width, layout.channels
        return layout.channels, layout.height, layout.width

    def decode(self, entry: Entry) -> Array:
        """Return the image as the model wants it, without a batch dimension."""
        image = _read_image(entry, self.layout.channels)
        resized = _RESIZERS[self.parameters.preprocess_file](image, self.layout)
        return converted(self._arranged(resized), self.dtype, entry.where)

    def _arranged(self, image: Array) -> Array:
        """Normalise each channel and write it to its place in the layout and colour order of the input."""
        channels = self.layout.channels
        order = [2, 1, 0, 3] if self.parameters.color_format == "rgb" and channels >= 3 else [0, 1, 2, 3]
        if not is_float(self.dtype):
            chosen = _rounded(image)[..., order[:channels]]
            return chosen if self.layout.channels_last else chosen.transpose(2, 0, 1)
        mean = _per_channel(self.parameters.mean_value, channels, 0)
        std = _per_channel(self.parameters.std_value, channels, 1)
        result = np.empty((channels, *image.shape[:2]), np.float32)
        for channel, plane in enumerate(result):
            np.subtract(image[..., order[channel]], mean[channel], out=plane)
            plane /= std[channel]
        return result.transpose(1, 2, 0) if self.layout.channels_last else result


def _per_channel(values: tuple[float, ...] | None, channels: int, default: float) -> NDArray[np.float32]:
    return np.broadcast_to(np.asarray(default if values is None else values, np.float32), channels)


def _rounded(image: Array) -> Array:
    return np.rint(image).astype(np.uint8) if image.dtype.kind == "f" else image


def _read_image(entry: Entry, channels: int) -> Array:
    """Read an image as (height, width, channels) with values from 0 to 255 and channels in the order BGR."""
    cv2 = opencv()
    flags = {1: cv2.IMREAD_GRAYSCALE, 3: cv2.IMREAD_COLOR, 4: cv2.IMREAD_UNCHANGED}[channels]
    image: Any = None
    try:
        # OpenCV gets the bytes, not the path: it prints a warning of its own if it cannot read a path.
        data = np.fromfile(entry.path, np.uint8)
        if data.size:
            image = cv2.imdecode(data, flags | cv2.IMREAD_ANYDEPTH if channels < 4 else flags)
    except OSError as error:
        raise DataError(
            f"cannot read the image: {error.strerror}",
            where=entry.where,
            hint=UNREADABLE,
        ) from error
    except cv2.error:
        image = None
    if image is None:
        raise DataError(
            "cannot read the image: no known image format, or truncated",
            where=entry.where,
            hint="convert it, or take it off the list",
        )
    image = np.reshape(image, (*image.shape[:2], -1))
    if image.shape[2] != channels:
        raise DataError(
            f"the image has {image.shape[2]} channels but the input has {channels}",
            where=entry.where,
            hint="convert the files, or use a preprocess_file",
        )
    return _eight_bit_scale(image)


def _eight_bit_scale(image: Array) -> Array:
    # Means and deviations refer to values from 0 to 255; scaling to float keeps the precision of 16 bits.
    if image.dtype == np.uint16:
        return np.asarray(image * np.float32(255 / 65535), np.float32)
    return image


@dataclass(frozen=True)
class NpyDecoder:
    """NumPy ``.npy`` files that hold one array."""

    dtype: DType

    def shape(self, entry: Entry) -> tuple[int, ...]:
        """Return the shape from the file's header, after checking its element type."""
        shape, dtype = _npy_header(entry)
        check_convertible(dtype, self.dtype, entry.where)
        return shape

    def decode(self, entry: Entry) -> Array:
        """Return the array of the file, converted to the type of the input."""
        try:
            with PARSING:
                values = np.load(entry.path, allow_pickle=False)
        # numpy raises many kinds of exceptions if the data of a file do not match its header.
        except Exception as error:
            raise DataError(
                f"cannot read the npy file: {error}",
                where=entry.where,
                hint=UNREADABLE,
            ) from error
        return converted(values, self.dtype, entry.where)


def _npy_header(entry: Entry) -> tuple[tuple[int, ...], DType]:
    try:
        with entry.path.open("rb") as file:
            version = npy_format.read_magic(file)
            read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
            with PARSING:
                shape, _, dtype = read(file)
            held = os.fstat(file.fileno()).st_size - file.tell()
    # The header is a Python literal: parsing a damaged one can raise any exception.
    except Exception as error:
        raise DataError(f"not a npy file: {error}", where=entry.where, hint="numpy.save writes it") from error
    if dtype.hasobject:
        raise DataError(
            "the npy file holds Python objects", where=entry.where, hint="save one array of numbers"
        )
    _check_promise(shape, dtype, held, entry.where)
    return shape, dtype


def _check_promise(shape: tuple[int, ...], dtype: DType, held: int, where: str) -> None:
    """Refuse a header that does not match the size of the file, before memory is allocated for the array."""
    # A damaged header may hold a bool, which is an int for isinstance, or a negative size.
    if not all(type(size) is int and size >= 0 for size in shape):
        raise DataError(f"not a npy file: its shape is {shape}", where=where, hint="numpy.save writes it")
    needed = math.prod(shape) * dtype.itemsize
    if needed == 0:
        raise DataError(
            f"the npy file holds no value: its shape is {show_shape(shape)}",
            where=where,
            hint="remove its line",
        )
    if held < needed:
        raise DataError(
            f"cannot read the npy file: its header promises {needed} bytes, but {held} follow",
            where=where,
            hint="save or fetch it again",
        )


@dataclass(frozen=True)
class RawDecoder:
    """Raw little-endian binary data in the type of the input.

    Attributes
    ----------
    dtype : numpy.dtype
        Element type of the input.
    shapes : tuple of shapes
        The shapes that one file may have; the size of the file decides between them.
    """

    dtype: DType
    shapes: tuple[tuple[int, ...], ...]

    def shape(self, entry: Entry) -> tuple[int, ...]:
        """Return the shape that matches the size of the file."""
        size = entry.path.stat().st_size
        for shape in self.shapes:
            if size == self._bytes(shape):
                return shape
        wanted = " or ".join(f"{self._bytes(shape)} for {show_shape(shape)}" for shape in self.shapes)
        raise DataError(
            f"the file has {size} bytes, the input needs {wanted} of {self.dtype.name}",
            where=entry.where,
            hint="correct the file, input_shape or dtype",
        )

    def decode(self, entry: Entry) -> Array:
        """Return the file's content."""
        shape = self.shape(entry)
        values = np.fromfile(
            entry.path, self.dtype.newbyteorder("<") if self.dtype.kind != "V" else self.dtype
        )
        return converted(values.reshape(shape), self.dtype, entry.where)

    def _bytes(self, shape: tuple[int, ...]) -> int:
        return int(np.prod(shape, dtype=np.int64)) * self.dtype.itemsize
