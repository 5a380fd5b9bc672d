"""The outcome of judging a model: errors per sample, the score, and how certain a gain is.

The standard deviation of a gain is estimated by bootstrap: the samples are drawn again with repetition, many
times, always the same samples for both models.

Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7 (1979).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

MOST_DB = 200.0
"""The score of outputs without error."""

SATURATED_DB = 60.0
"""Largest score of an output of a saturating function: int8 passes it only in saturation."""

DRAWS = 200
"""Number of bootstrap draws; the standard deviation then varies by 5 %."""

SMALL_NOISE = 0.1
"""Share of the mean noise, of the better model, below which the noise of a sample makes no difference."""

TINY = 1e-30

Energies = NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """The errors of a model on the samples that judge.

    Attributes
    ----------
    signal, noise : float64 array, shape (samples, tensors)
        Sum of squares of the float model's values, and of the differences from them.
    most_db : float64 array, shape (tensors,)
        Largest score of every tensor.
    """

    signal: Energies
    noise: Energies
    most_db: Energies

    @property
    def score(self) -> float:
        """Signal-to-noise ratio in dB, averaged over the tensors; `MOST_DB` without tensors."""
        return float(self._scores.mean()) if self._scores.size else MOST_DB

    @property
    def worst(self) -> float:
        """Ratio of the mean signal to the typical noise of a sample, in dB, for the worst tensor.

        The typical noise is the geometric mean over the samples, so that a single sample does not decide.
        """
        if not self.signal.shape[1]:
            return MOST_DB
        signal = np.maximum(self.signal.mean(axis=0), TINY)
        ratios = 10.0 * np.log10(signal / np.maximum(self.noise, 1e-20 * signal))
        return float(np.minimum(ratios.mean(axis=0), self.most_db).min())

    @property
    def _scores(self) -> Energies:
        with np.errstate(divide="ignore"):
            return np.asarray(np.minimum(-10.0 * np.log10(self.noise_ratios), self.most_db))

    @property
    def noise_ratios(self) -> Energies:
        """Noise over signal of every tensor; shape ``(tensors,)``."""
        signal, noise = self.signal.sum(axis=0), self.noise.sum(axis=0)
        return np.asarray(noise / np.maximum(signal, TINY))

    @classmethod
    def joined(cls, outcomes: Sequence[Outcome]) -> Outcome:
        """Return the outcome over the samples of all given ones."""
        return cls(
            np.concatenate([outcome.signal for outcome in outcomes]),
            np.concatenate([outcome.noise for outcome in outcomes]),
            outcomes[0].most_db,
        )

    def rows(self, samples: Sequence[int]) -> Outcome:
        """Return the outcome over some of the samples."""
        chosen = list(samples)
        return replace(self, signal=self.signal[chosen], noise=self.noise[chosen])

    def gain_of(self, after: Outcome) -> Gain:
        """Return how much less noise another model has on the same samples.

        The gain is the lesser of two: the gain of the score, to which rare large errors contribute most, and
        the mean over the samples of the ratio of the noises in dB, in which a single sample does not decide.
        Noise far below the mean counts as `SMALL_NOISE` of it. The deviation is that of the latter.
        """
        ratios = self._ratios(after)
        count = len(ratios)
        draws = np.random.default_rng(0).multinomial(count, np.full(count, 1.0 / count), DRAWS)
        db = min(float(ratios.mean()), after.score - self.score)
        return Gain(db, float(np.std(draws @ ratios / count)))

    def _ratios(self, after: Outcome) -> Energies:
        """Return the gain for every sample in dB."""
        if not self.signal.shape[1]:
            return np.zeros(len(self.signal))
        least = 10.0 ** (-MOST_DB / 10.0) * self.signal.mean(axis=0) + TINY
        means = np.minimum(self.noise.mean(axis=0), after.noise.mean(axis=0))
        floor = np.maximum(SMALL_NOISE * means, least)
        gains = 10.0 * np.log10((self.noise + floor) / (after.noise + floor))
        return np.asarray(gains.mean(axis=1))


@dataclass(frozen=True)
class Gain:
    """A gain in dB and its standard deviation, which is 0 for a single sample."""

    db: float
    deviation: float
