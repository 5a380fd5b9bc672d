"""Sentences of the report that are put together from parts."""

from __future__ import annotations

from collections.abc import Iterator

from xslim.analysis.facts import InputFacts
from xslim.analysis.numbers import short
from xslim.texts import Catalogue

PAGE_TEXTS = {
    "histogram": "Histogram of the float values",
    "bin": "{low} to {high}: {count}",
    "caption": "{name}: float values {low} to {high}, int8 covers {first} to {last} (shaded); "
    "clipped {clipped}, MSE {mse}. Heights are logarithmic.",
    "channels": "Largest channel: number {number} with {largest}; the median channel reaches {median}.",
    "copied": "Copied",
}
"""Texts that the script of the page fills in."""

FILES = {"img": "images", "npy": "arrays (.npy)", "raw": "raw files"}


def preprocessing(item: InputFacts, say: Catalogue) -> str:
    """Say in a line how the files of an input become arrays."""
    return ", ".join(_steps(item, say))


def _steps(item: InputFacts, say: Catalogue) -> Iterator[str]:
    yield say(FILES.get(item.files, item.files))
    if item.preprocess:
        yield item.preprocess
    if item.color_format:
        yield item.color_format.upper()
    if item.mean:
        yield say("mean {values}", values=_list(item.mean))
    if item.deviation:
        yield say("deviation {values}", values=_list(item.deviation))


def _list(values: tuple[float, ...]) -> str:
    return " ".join(short(value, 6) for value in values)
