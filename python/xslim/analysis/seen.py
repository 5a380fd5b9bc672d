"""What the network sees: samples as it is fed with them, and what it answers."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from xslim.analysis.facts import InputFacts
from xslim.runtime import Feeds

Array = NDArray[np.generic]
Vectors = Mapping[str, tuple[Array, Array]]
"""For each output that is a vector of classes: what the float and what the quantised model returned."""
Kind = Literal["picture", "waveform", "tokens", "values"]

MOST_SAMPLES = 8
PICTURE_SIDE = 128
"""Longest side of a picture in the report, in pixels."""
PICTURE_RANK, COLOURS = 4, (1, 3)
FEWEST_POINTS, COLUMNS = 64, 240
"""A waveform has at least so many values; it is drawn as the extremes of so many columns."""
ANSWERS = 3
PIXEL_MAX = 255.0
SLACK = 1.0
"""How far pixels may lie outside 0 to 255 before the report counts them, for rounding."""


@dataclass(frozen=True)
class InputView:
    """One input of one sample.

    Attributes
    ----------
    name : str
        The input.
    kind : str
        ``picture``, ``waveform``, ``tokens`` or ``values``.
    picture : str
        A data URI of a PNG image; empty for other kinds.
    scale : str
        How values became pixels: ``mean``, ``unit``, ``signed``, ``pixels`` or ``stretched``; empty for other
        kinds.
    outside : float
        Share of the values that are no pixels from 0 to 255 before the mean and deviation, 0 to 1.
    wave : tuple of (low, high)
        Extremes of neighbouring values, along the waveform; empty for other kinds.
    count, distinct, zeros : int
        Number of values, and for tokens the number of different ones and of zeros.
    low, high : float
        Extremes.
    """

    name: str
    kind: Kind
    picture: str = ""
    scale: str = ""
    outside: float = 0.0
    wave: tuple[tuple[float, float], ...] = ()
    count: int = 0
    distinct: int = 0
    zeros: int = 0
    low: float = 0.0
    high: float = 0.0


@dataclass(frozen=True)
class AnswerView:
    """The largest values of one output that is a vector of classes.

    Attributes
    ----------
    output : str
        The output.
    top : tuple of (int, float)
        Class and value of the float model's three largest values, the largest first.
    quantized : int
        The class of the quantised model's largest value.
    """

    output: str
    top: tuple[tuple[int, float], ...]
    quantized: int


@dataclass(frozen=True)
class SampleView:
    """One sample and the answers to it."""

    inputs: tuple[InputView, ...]
    answers: tuple[AnswerView, ...]


def sample_views(
    samples: Sequence[Feeds], vectors: Sequence[Vectors], facts: Sequence[InputFacts]
) -> tuple[SampleView, ...]:
    """Show the first samples, with the answers that the comparison of both models has computed.

    Parameters
    ----------
    samples, vectors : sequence
        The compared samples, and their outputs.
    facts : sequence of InputFacts
        The preprocessing, which is undone for pictures.
    """
    by_name = {item.name: item for item in facts}
    return tuple(
        SampleView(
            tuple(_input_view(name, np.asarray(array), by_name.get(name)) for name, array in feeds.items()),
            tuple(_answer(name, *pair) for name, pair in answers.items()),
        )
        for feeds, answers in zip(samples[:MOST_SAMPLES], vectors[:MOST_SAMPLES], strict=True)
    )


def is_class_vector(array: Array) -> bool:
    """Whether an output of one sample is a vector of finite floating-point values, one per class."""
    return array.dtype.kind == "f" and array.size > 1 and array.size == max(array.shape)


def _answer(name: str, expected: Array, found: Array) -> AnswerView:
    values = expected.ravel()
    # A stable sort of the negated values: of equal classes the first wins, on every machine.
    order = np.argsort(-values.astype(np.float64), kind="stable")[:ANSWERS]
    return AnswerView(name, tuple((int(index), float(values[index])) for index in order), int(found.argmax()))


def _input_view(name: str, array: Array, facts: InputFacts | None) -> InputView:
    if array.dtype.kind in "iub":
        if _axis_of_colours(array) is not None and array.dtype == np.uint8:
            return _picture(name, array, facts)
        return InputView(
            name, "tokens", count=array.size, distinct=len(np.unique(array)), zeros=int((array == 0).sum())
        )
    if array.dtype.kind != "f" or not array.size:
        return InputView(name, "values", count=array.size)
    if _axis_of_colours(array) is not None:
        return _picture(name, array, facts)
    values = np.nan_to_num(array.astype(np.float32).ravel())
    view = InputView(name, "values", count=array.size, low=float(values.min()), high=float(values.max()))
    if array.size >= FEWEST_POINTS and array.size == max(array.shape):
        parts = np.array_split(values, min(COLUMNS, len(values)))
        wave = tuple((float(part.min()), float(part.max())) for part in parts)
        return InputView(name, "waveform", wave=wave, count=array.size, low=view.low, high=view.high)
    return view


def _axis_of_colours(array: Array) -> int | None:
    """Return the axis of the channels if the array looks like one image, NCHW or NHWC."""
    if array.ndim != PICTURE_RANK or array.shape[0] != 1 or 0 in array.shape:
        return None
    first, last = array.shape[1] in COLOURS, array.shape[3] in COLOURS
    if first and min(array.shape[2:]) > 1:
        return 1
    return 3 if last and min(array.shape[1:3]) > 1 else None


def _picture(name: str, array: Array, facts: InputFacts | None) -> InputView:
    image = array[0].transpose(1, 2, 0) if _axis_of_colours(array) == 1 else array[0]
    values = np.nan_to_num(image.astype(np.float32))
    scale, pixels = _pixels(values, facts)
    outside = (pixels < -SLACK) | (pixels > PIXEL_MAX + SLACK)
    shown = np.clip(np.rint(pixels), 0, PIXEL_MAX).astype(np.uint8)
    is_bgr = facts is not None and facts.color_format == "bgr"
    return InputView(
        name,
        "picture",
        picture=_data_uri(shown if is_bgr else shown[..., ::-1]),
        scale=scale,
        outside=float(outside.mean()),
        count=array.size,
        low=float(values.min()),
        high=float(values.max()),
    )


def _pixels(values: NDArray[np.float32], facts: InputFacts | None) -> tuple[str, NDArray[np.float32]]:
    """Return how values become pixels from 0 to 255, and the pixels."""
    low, high = float(values.min()), float(values.max())
    if facts is not None and (facts.mean or facts.deviation):
        mean = np.asarray(facts.mean or 0, np.float32)
        deviation = np.asarray(facts.deviation or 1, np.float32)
        return "mean", values * deviation + mean
    span = np.float32(PIXEL_MAX / (high - low) if high > low else 0)
    ways: tuple[tuple[str, bool, Callable[[], NDArray[np.float32]]], ...] = (
        ("unit", low >= 0 and high <= 1 and high > 0, lambda: values * np.float32(PIXEL_MAX)),
        ("signed", -1 <= low < 0 and high <= 1, lambda: (values + 1) * np.float32(PIXEL_MAX / 2)),
        ("pixels", low >= 0 and high <= PIXEL_MAX, lambda: values),
        ("stretched", True, lambda: (values - np.float32(low)) * span),
    )
    return next((name, make()) for name, applies, make in ways if applies)


def _data_uri(pixels: NDArray[np.uint8]) -> str:
    """Return an image, BGR or grey, as a small PNG in a data URI."""
    import cv2

    rows, columns = pixels.shape[:2]
    scale = PICTURE_SIDE / max(rows, columns)
    image = np.ascontiguousarray(pixels)
    if scale < 1:
        size = max(1, round(columns * scale)), max(1, round(rows * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    encoded = cv2.imencode(".png", image)[1]
    return f"data:image/png;base64,{base64.b64encode(encoded.tobytes()).decode('ascii')}"
