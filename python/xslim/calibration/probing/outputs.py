"""Choose how the answers of a model are judged, by the form of its outputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from xslim.calibration.probing.answers import box_answers, class_answers, probability_columns, row_answers

if TYPE_CHECKING:
    from xslim.calibration.probing.measure import Subject

Doubles = NDArray[np.float64]
Array = NDArray[np.generic]
Key = TypeVar("Key")

CLASSES, ROWS = 2, 3
"""Dimensions of an output with one row of classes per image, and of one with a row per box or position."""


@dataclass(frozen=True)
class Judge:
    """The output whose values judge, and the number of its dimensions."""

    output: str
    dimensions: int

    def compares(self, runs: Mapping[Key, Sequence[Array]]) -> bool:
        """Whether the outputs of all runs can be compared: detections may be none, and sizes may differ."""
        shapes = {output.shape for outputs in runs.values() for output in outputs}
        same = {shape[-1] for shape in shapes} if self.dimensions == ROWS else shapes
        return len(same) == 1 and all(math.prod(shape) > 0 for shape in shapes)

    def scores(self, runs: Mapping[Key, Sequence[Array]]) -> dict[Key, Doubles]:
        """Return one number for each image and each way of feeding the images; more is better."""
        return {key: self._measure(runs)(outputs) for key, outputs in runs.items()}

    def _measure(self, runs: Mapping[Key, Sequence[Array]]) -> Callable[[Sequence[Array]], Doubles]:
        if self.dimensions == CLASSES:
            return class_answers
        columns = probability_columns([output for outputs in runs.values() for output in outputs])
        sums = [output[..., columns].sum(axis=-1) for outputs in runs.values() for output in outputs]
        if columns and np.allclose(np.concatenate([item.ravel() for item in sums]), 1, atol=1e-2):
            return row_answers
        return lambda outputs: box_answers(outputs, columns)


def judge_of(subject: Subject) -> Judge | None:
    """Return the judge of a model; None for outputs that have neither classes nor rows of scores."""
    for output in subject.model.graph.outputs:
        dimensions = len(output.shape) if output.shape is not None else 0
        is_float = output.dtype is not None and output.dtype.is_floating_point()
        if output.name and is_float and dimensions in (CLASSES, ROWS):
            return Judge(output.name, dimensions)
    return None
