"""How much work refinement does: one table by finetune level, and the limits that hold at every level.

Every number names its source or the observation that chose it. A number that has neither is said to be set by
hand.
"""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Effort:
    """What one finetune level spends.

    Attributes
    ----------
    level : int
        The finetune level.
    judging_runs : int
        Runs of the model that judge, where its outputs are small. With 8 runs, clipping that suits eight
        photographs can win although it does not suit the next; levels 2 and 3 try more, so they need 25.
    judging_inputs : int
        Most elements of all inputs that judge. Level 1 is to cost seconds, so 800,000 is five images of
        224 x 224, the fewest that judge a classifier; a search that takes minutes affords five times as many.
    scales : tuple of float
        Factors of a weight's scale that rounding with feedback tries for every channel. Below 1 they clip the
        largest weights, which pays more often than the room above 1. Set by hand.
    followed_samples : int
        Most samples that the float and the quantised network run side by side, layer by layer. The standard
        error of a mean falls with the root of their number, and chance is taken out of the mean: twice as
        many samples gain less with every level.
    followed_bytes : int
        Most memory of their activations: what a small machine has to spare.
    range_sweeps : int
        How often the search of ranges takes every range in turn.
    range_runs : int
        Runs of the quantised model that the search of ranges may take, per calibration sample: level 2 may
        take about as long as calibration itself, level 3 five times as long.
    """

    level: int
    judging_runs: int
    judging_inputs: int
    scales: tuple[float, ...]
    followed_samples: int
    followed_bytes: int
    range_sweeps: int
    range_runs: int


EFFORT = {
    effort.level: effort
    for effort in (
        Effort(
            level=1,
            judging_runs=8,
            judging_inputs=800_000,
            scales=(1.0,),
            followed_samples=16,
            followed_bytes=384 * MEGABYTE,
            range_sweeps=0,
            range_runs=0,
        ),
        Effort(
            level=2,
            judging_runs=25,
            judging_inputs=4_000_000,
            scales=(1.0, 0.94, 0.88, 1.06),
            followed_samples=32,
            followed_bytes=768 * MEGABYTE,
            range_sweeps=1,
            range_runs=2,
        ),
        Effort(
            level=3,
            judging_runs=25,
            judging_inputs=4_000_000,
            scales=(1.0, 0.97, 0.94, 0.91, 0.88, 0.82, 1.03, 1.06),
            followed_samples=64,
            followed_bytes=768 * MEGABYTE,
            range_sweeps=2,
            range_runs=10,
        ),
    )
}
"""The effort of every finetune level that refines."""

LEVELS = tuple(EFFORT)

# The judge.
FORMULA_GAIN_DB = 0.05
"""What a step has to gain that follows from a formula: more than nothing (set by hand)."""
CHOICE_GAIN_DB = 0.2
"""What the best of several alternatives has to gain: the more are tried, the more it owes to chance (set by
hand)."""
FEWEST_RUNS = 2
"""Runs from which one is held back. One sample cannot be fitted and judge the fit as well: rounding with
feedback that was judged on its own sample lost 17 dB."""
LEAST_STRIDE = 4
"""At most every fourth sample judges (where there are four), so that three quarters of them are fitted."""
FAIR_OUTPUTS = 2_000
"""Elements of the outputs that make a fair judgement: ten logits of five images judged nothing."""

# Equalisation.
MANY_RUNS = 64
"""Runs of the model from which the samples held back judge alone; with fewer, two halves judge each other."""
RANGE_RUNS = 50
"""Runs that give the ranges of channels where there are many: about so many, at most every second one."""
FOLDS = 2
"""Parts of few samples that judge each other. A smaller fold hardly ever shows a channel that the others do
not: with 12 photographs, four folds rated strength 0.5 best by 1 dB, halves rated 0.25 best by 1 dB, as
unseen photographs did."""
STRENGTHS = (1.0, 0.5)
"""Strengths that are tried. More are no better: what int8 activations gain by 0.75, rounding the weights can
lose."""
CAREFUL_STRENGTHS = (1.0, 0.5, 0.25)
"""Strengths that are tried where samples are few: with 12 photographs, 0.25 instead of 0.5 gained 3 dB on
unseen photographs."""
MARGINS = (1.15, 1.4)
"""Factors of the ranges of equalised tensors that are tried where samples are few (set by hand)."""

# Biases in sequence.
LIVE_TENSORS = 6
"""Activations of the largest size that two networks side by side hold at a time: input and output of a layer
and one branch beside them, twice."""

# The search of ranges.
PROBES = 6
"""Tensors on the way whose error counts beside that of the outputs: few outputs alone are fitted by chance
(set by hand)."""
RANGE_STEPS = (0.88, 1.14)
"""Factors by which a range is narrowed or widened; one nearly undoes the other (set by hand)."""
LEAST_PROGRESS = 0.998
"""A trial is kept when it leaves at most this part of the error; a smaller gain is chance (set by hand)."""
