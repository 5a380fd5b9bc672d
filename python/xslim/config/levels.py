"""The two levels of a run: what it converts, and how much effort it makes for accuracy.

In a configuration, in a report and in the JSON Schema a level is its number.
"""

from __future__ import annotations

from enum import IntEnum


class PrecisionLevel(IntEnum):
    """What a run makes of the operators of a model."""

    ALL_OPERATORS = 0
    """Int8: every operator that the target runs in int8."""
    SIMPLE_OPERATORS = 1
    """Int8 without softmax, normalisation, exponentials, quotients and reductions."""
    WEIGHTED_OPERATORS = 2
    """Int8 for operators with constant weights, and for what moves data between them."""
    DYNAMIC = 3
    """Int8 weights; the ranges of activations are found while the model runs."""
    HALF = 4
    """Float16."""
    SLIM = 100
    """The same arithmetic with fewer operators."""

    @property
    def is_static(self) -> bool:
        """Whether activations have fixed ranges, which need calibration data."""
        return self <= PrecisionLevel.WEIGHTED_OPERATORS

    @property
    def has_int8(self) -> bool:
        """Whether the result holds int8 operators."""
        return self <= PrecisionLevel.DYNAMIC

    def __str__(self) -> str:
        """Return the number, as Python does from 3.11 on."""
        return str(self.value)


class FinetuneLevel(IntEnum):
    """How far a static run adjusts weights and ranges; every level includes the one below."""

    RANGES = 0
    """Only ranges are chosen; weights are rounded to nearest."""
    CORRECTIONS = 1
    """Equalised channels, rounding with error feedback, corrected biases."""
    SEARCH = 2
    """A search of ranges and scales on the error of the outputs."""
    WIDE_SEARCH = 3
    """The search with more samples and more candidates."""

    def __str__(self) -> str:
        """Return the number, as Python does from 3.11 on."""
        return str(self.value)
