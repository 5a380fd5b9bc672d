"""Top-1 and top-5 accuracy of two models on the same labelled samples."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xslim.commands.labels import Labels
from xslim.errors import DataError, ModelError

logger = logging.getLogger(__name__)

Array = NDArray[np.generic]
Numbers = NDArray[np.int64]

NORMAL_95 = 1.959964
"""Quantile of the normal distribution that leaves 2.5 % on each side."""


@dataclass(frozen=True)
class Share:
    """A number of right answers out of all.

    Attributes
    ----------
    right, samples : int
        The counts.
    """

    right: int
    samples: int

    @property
    def value(self) -> float:
        """Share of the right answers, 0 to 1."""
        return self.right / self.samples

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of Wilson (Journal of the American Statistical Association 22, 1927)."""
        n, p, z = self.samples, self.value, NORMAL_95
        centre = p + z * z / (2 * n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        scale = 1 + z * z / n
        return max((centre - half) / scale, 0.0), min((centre + half) / scale, 1.0)


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of two models on the same samples.

    Attributes
    ----------
    output : str
        The output that holds the scores of the classes.
    top1 : pair of Share
        The first and the second model: the largest score is that of the label.
    top5 : pair of Share, or None
        The label is among the five largest scores; None for five classes or less.
    right_to_wrong, wrong_to_right : int
        Samples whose top-1 answer is right in one model only: what the test of McNemar counts.
    """

    output: str
    top1: tuple[Share, Share]
    top5: tuple[Share, Share] | None
    right_to_wrong: int
    wrong_to_right: int

    @property
    def p_value(self) -> float:
        """Exact two-sided p of McNemar: how likely so uneven a change is if neither model is better."""
        changed = self.right_to_wrong + self.wrong_to_right
        fewer = min(self.right_to_wrong, self.wrong_to_right)
        ways = sum(math.comb(changed, count) for count in range(fewer + 1))
        # Whole numbers: 2**changed exceeds the largest float from 1024 changes on.
        scaled: int = 2 * ways * 10**12 // 2**changed
        return min(1.0, scaled / 10**12)

    def as_json(self) -> dict[str, object]:
        """Return plain data for JSON."""
        return {
            "output": self.output,
            "samples": self.top1[0].samples,
            "first": self._plain(0),
            "second": self._plain(1),
            "top1_change": self.top1[1].value - self.top1[0].value,
            "top5_change": self.top5[1].value - self.top5[0].value if self.top5 else None,
            "right_to_wrong": self.right_to_wrong,
            "wrong_to_right": self.wrong_to_right,
            "p_value": self.p_value,
        }

    def _plain(self, model: int) -> dict[str, object]:
        top1, top5 = self.top1[model], self.top5[model] if self.top5 else None
        return {
            "top1": top1.value,
            "top1_interval": list(top1.interval),
            "top5": top5.value if top5 else None,
            "top5_interval": list(top5.interval) if top5 else None,
        }

    def lines(self) -> Iterator[str]:
        """Return what the command prints."""
        yield f"{self.top1[0].samples} labels, output {self.output}"
        yield f"{'':<8}{'top-1':>9}  {'95 % interval':<20}{'top-5':>9}  95 % interval".rstrip()
        for model, name in enumerate(("first", "second")):
            top5 = _cells(self.top5[model]) if self.top5 else f"{'-':>9}"
            yield f"{name:<8}{_cells(self.top1[model])}{top5}".rstrip()
        changes = [_change(self.top1), f"{_change(self.top5) if self.top5 else '-':>31}"]
        yield f"{'change':<8}{changes[0]:>9}{changes[1]} (percentage points)"
        yield (
            f"right -> wrong: {self.right_to_wrong}, wrong -> right: {self.wrong_to_right} "
            f"(McNemar p = {self.p_value:.2g})"
        )


def _cells(share: Share) -> str:
    low, high = share.interval
    return f"{share.value:>9.2%}  {f'{low:.2%} to {high:.2%}':<20}"


def _change(shares: tuple[Share, Share]) -> str:
    return f"{100 * (shares[1].value - shares[0].value):+.2f}"


class Answers:
    """The right and wrong answers of two models, sample after sample."""

    def __init__(self, labels: Labels, outputs: Sequence[str]) -> None:
        self._labels = labels
        self._outputs = outputs
        self._place: int | None = None
        self._ranks: tuple[list[Numbers], list[Numbers]] = ([], [])
        self._used = self._rows = 0
        self._classes = 0

    def add(self, numbers: Sequence[int] | None, first: Sequence[Array], second: Sequence[Array]) -> None:
        """Add what both models answered to the samples of one run; `numbers` are the labels, if known."""
        if self._place is None:
            self._place = self._scores(first)
        scores = [_as_rows(outputs[self._place]) for outputs in (first, second)]
        count = len(scores[0])
        if numbers is None:
            numbers = self._labels.numbers[self._used : self._used + count]
            if len(numbers) < count:
                raise DataError(
                    f"there are fewer labels than samples: {len(self._labels.numbers)}",
                    where=self._labels.place,
                    hint="give one for each sample, or take fewer samples",
                )
        if len(numbers) != count:
            raise ModelError(
                f"output {self._outputs[self._place]} has {count} rows for {len(numbers)} labelled files",
                hint="labels by file need one sample in each file; else give class numbers in their order",
            )
        self._used += count
        self._rows = count
        for ranks, rows in zip(self._ranks, scores, strict=True):
            ranks.append(_ranks(rows, np.asarray(numbers)))

    def result(self, *, limited: bool) -> Accuracy:
        """Return the accuracy; `limited` says that more samples than those seen may have labels.

        Raises
        ------
        DataError
            There are more labels than samples, although nothing limited the samples.
        """
        left = 0 if self._labels.files or limited else len(self._labels.numbers) - self._used
        if 0 < left < self._rows:
            logger.warning("the last %d samples do not fill the model's batch of %d", left, self._rows)
        elif left > 0:
            raise DataError(
                f"there are {len(self._labels.numbers)} labels for {self._used} samples",
                where=self._labels.place,
                hint="give one for each sample, in the order of the samples",
            )
        first, second = (np.concatenate(ranks) for ranks in self._ranks)
        tops = [
            (Share(int((first < best).sum()), self._used), Share(int((second < best).sum()), self._used))
            for best in (1, 5)
        ]
        return Accuracy(
            output=self._outputs[self._place or 0],
            top1=tops[0],
            top5=tops[1] if self._classes > 5 else None,
            right_to_wrong=int(((first == 0) & (second > 0)).sum()),
            wrong_to_right=int(((first > 0) & (second == 0)).sum()),
        )

    def _scores(self, outputs: Sequence[Array]) -> int:
        """Return the place of the output that holds class scores, after a check of the labels against it."""
        places = [place for place, output in enumerate(outputs) if _has_classes(output)]
        if not places:
            raise ModelError(
                "no output has the shape (samples, classes), which labels need",
                hint="rate other models with a metric of your own",
            )
        place = places[0]
        if len(places) > 1:
            logger.warning("several outputs could be class scores: %s is taken", self._outputs[place])
        self._classes = outputs[place].shape[1]
        largest = max(self._labels.numbers)
        if largest >= self._classes:
            at = self._labels.numbers.index(largest)
            raise DataError(
                f"label {largest} is outside of the {self._classes} classes of output {self._outputs[place]}",
                where=self._labels.files[at].where if self._labels.files else self._labels.place,
                hint="class numbers start at 0",
            )
        if self._labels.classes not in (None, self._classes):
            logger.warning(
                "%s has %s folders, the model %d classes: are the numbers those of training?",
                self._labels.place, self._labels.classes, self._classes,
            )  # fmt: skip
        return place


def _has_classes(output: object) -> bool:
    """Whether an output is (samples, classes), or the same with sides of 1 behind."""
    # A sequence or an optional output is no array.
    if not isinstance(output, np.ndarray):
        return False
    numeric = output.dtype.kind in "fiu" or output.dtype.name == "bfloat16"
    return (
        numeric and output.ndim >= 2 and output.shape[1] > 1 and all(size == 1 for size in output.shape[2:])
    )


def _as_rows(output: Array) -> NDArray[np.float64]:
    return output.reshape(output.shape[:2]).astype(np.float64)


def _ranks(scores: NDArray[np.float64], numbers: Numbers) -> Numbers:
    """Return how many classes come before the label; of equal scores the first does, as in argmax.

    A row with NaN has no right answer: its label comes last.
    """
    wanted = scores[np.arange(len(scores)), numbers][:, None]
    before = np.arange(scores.shape[1]) < numbers[:, None]
    ranks: Numbers = (scores > wanted).sum(axis=1) + ((scores == wanted) & before).sum(axis=1)
    ranks[np.isnan(scores).any(axis=1)] = scores.shape[1]
    return ranks.astype(np.int64)
