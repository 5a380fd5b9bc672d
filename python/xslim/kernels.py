"""Numeric kernels: sketches, threshold search, quantisation arithmetic and error sums.

The kernels run in Rust (``xslim._native``) without the GIL, in ``threads()`` threads; the results do not
depend on the number of threads. Arrays are float16, float32 or float64 of any shape. They are read in place,
and copied only if they are not C-contiguous. If an array is written while a kernel reads it, the kernel sees
a mix of old and new values.

A refusal raises one exception for each kind of fault, which is a built-in one as well: `ShapeError`,
`ArgumentError`, `NonFiniteError`, `SketchFullError` and `CorruptSketchError` are a ValueError, `DtypeError`
is a TypeError, `ThreadsError` a RuntimeError.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xslim import _native
from xslim._native import (
    ArgumentError,
    CorruptSketchError,
    DtypeError,
    ErrorMetrics,
    Gram,
    NonFiniteError,
    ShapeError,
    Sketch,
    SketchFullError,
    ThreadsError,
    channel_ranges,
    error_sums,
    observe_many,
    quantize_per_channel,
    range_params,
    resize_antialiased,
    round_weights,
    search,
    set_threads,
    threads,
    threads_wanted,
)

__all__ = [
    "ArgumentError",
    "CorruptSketchError",
    "DtypeError",
    "ErrorMetrics",
    "Gram",
    "NonFiniteError",
    "ShapeError",
    "Sketch",
    "SketchFullError",
    "ThreadsError",
    "channel_ranges",
    "error_sums",
    "fake_quantize",
    "observe_many",
    "quantize",
    "quantize_per_channel",
    "range_params",
    "resize_antialiased",
    "round_weights",
    "search",
    "set_threads",
    "threads",
    "threads_wanted",
]

FloatArray: TypeAlias = NDArray[np.float16] | NDArray[np.float32] | NDArray[np.float64]


def fake_quantize(
    x: FloatArray,
    scale: ArrayLike,
    zero_point: ArrayLike = 0,
    *,
    axis: int | None = None,
    qmin: int = -128,
    qmax: int = 127,
) -> NDArray[np.float32]:
    """Quantise and dequantise, bit for bit as onnxruntime's QuantizeLinear and DequantizeLinear.

    ``q = clip(round_half_even(x / scale) + zero_point, qmin, qmax)``, then ``(q - zero_point) * scale``,
    all in float32. NaN becomes ``qmin``.

    Parameters
    ----------
    x : ndarray of float16, float32 or float64
        Any shape; computed in float32.
    scale : float or array of shape (channels,)
        Positive and finite.
    zero_point : int or array of shape (channels,)
        Within ``qmin`` and ``qmax``; one number serves all channels.
    axis : int, optional
        The axis of the channels; None means one scale for the whole tensor.
    qmin, qmax : int
        The integers that may be used.

    Returns
    -------
    ndarray of float32
        In the shape of ``x``.

    Raises
    ------
    ArgumentError
        Scales that are not positive and finite, or zero points out of range.
    ShapeError
        Channels that do not fit the axis.
    """
    return _native.fake_quantize(x, *_channels(scale, zero_point), axis, qmin, qmax)


def quantize(
    x: FloatArray,
    scale: ArrayLike,
    zero_point: ArrayLike = 0,
    *,
    axis: int | None = None,
    qmin: int = -128,
    qmax: int = 127,
) -> NDArray[np.int8]:
    """Quantise to int8, bit for bit as onnxruntime's QuantizeLinear.

    Parameters, errors and arithmetic are those of `fake_quantize`; ``qmin`` and ``qmax`` within int8.

    Returns
    -------
    ndarray of int8
        In the shape of ``x``.
    """
    return _native.quantize(x, *_channels(scale, zero_point), axis, qmin, qmax)


def _channels(scale: ArrayLike, zero_point: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    scales = np.atleast_1d(np.asarray(scale, np.float32))
    zero_points = np.broadcast_to(np.asarray(zero_point, np.int32), scales.shape)
    return np.ascontiguousarray(scales), np.ascontiguousarray(zero_points)
