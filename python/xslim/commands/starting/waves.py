"""Read .wav files as a model with a raw waveform wants them: one channel, from -1 to 1, cut to its length.

``xslim init`` copies this file beside the configuration: change what your model wants otherwise.
"""

from __future__ import annotations

import wave
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Waveform = NDArray[np.float32]

RATE = 16000
"""Samples per second that the model was trained with; files of another rate are resampled."""


FULL_SCALE = 2147483648.0
"""Of 32-bit integers."""


def run(paths: Sequence[str], parameters: dict[str, Any]) -> Waveform:
    """Return one waveform for every path, in the shape of the model's input."""
    inner = parameters["input_shape"][1:]
    rows = [loudest(read(path, RATE), int(np.prod(inner))) for path in paths]
    return np.stack(rows).reshape(len(paths), *inner)


def read(path: str, rate: int) -> Waveform:
    """Return the mean of the channels of a PCM file, from -1 to 1, resampled to a rate."""
    try:
        with wave.open(path) as file:
            width, channels, own_rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (EOFError, wave.Error) as error:
        raise ValueError(f"this is no PCM .wav file: {str(error) or 'it ends too early'}") from error
    samples = _numbers(data, width)
    mono = samples[: len(samples) // channels * channels].reshape(-1, channels).mean(axis=1)
    return np.asarray(mono if own_rate == rate else _resampled(mono, own_rate, rate), np.float32)


def loudest(waveform: Waveform, length: int) -> Waveform:
    """Return the part of a waveform with the most energy; a shorter one is repeated."""
    if len(waveform) == 0:
        raise ValueError("the file holds no sample")
    if len(waveform) <= length:
        return np.resize(waveform, length)
    energy = np.concatenate([[0.0], np.cumsum(np.square(waveform, dtype=np.float64))])
    start = int(np.argmax(energy[length:] - energy[:-length]))
    return waveform[start : start + length]


def _numbers(data: bytes, width: int) -> NDArray[np.float64]:
    """Return little-endian integers of 1 to 4 bytes, divided by their largest value."""
    octets = np.frombuffer(data, np.uint8)[: len(data) // width * width]
    if width == 1:
        return (octets.astype(np.float64) - 128) / 128
    # The bytes become the upper ones of 32 bits, so that the sign is right.
    wide = np.zeros((len(octets) // width, 4), np.uint8)
    wide[:, 4 - width :] = octets.reshape(-1, width)
    return np.frombuffer(wide.tobytes(), "<i4") / FULL_SCALE


def _resampled(waveform: NDArray[np.float64], rate: int, wanted: int) -> NDArray[np.float64]:
    """Interpolate linearly; before a lower rate, the mean of neighbours takes off what it cannot hold."""
    if rate > wanted:
        width = round(rate / wanted)
        waveform = np.convolve(waveform, np.full(width, 1 / width), "same")
    places = np.arange(int(len(waveform) * wanted / rate)) * (rate / wanted)
    values: NDArray[np.float64] = np.interp(places, np.arange(len(waveform)), waveform)
    return values
