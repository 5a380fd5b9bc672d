"""The effort of refinement: one table by finetune level, and the constants that hold at every level.

Every constant states its source or the measurement that chose it. "Set by hand" means that it has neither.
"""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Effort:
    """The limits of one finetune level.

    Attributes
    ----------
    level : int
        The finetune level.
    judging_runs : int
        Number of runs of the model on which steps are judged, if its outputs are small. With 8 runs, a range
        that clips too much on other photographs can win; levels 2 and 3 make more trials, so they need 25.
    judging_inputs : int
        Largest number of elements of all inputs on which steps are judged. Level 1 should take seconds, so
        its limit is 800,000: five images of 224 x 224, the fewest for judging a classifier. Levels 2 and 3
        take minutes and have five times as many.
    scales : tuple of float
        Factors of a weight's scale that rounding with feedback tries for every channel. Factors below 1 clip
        the largest weights, which reduces the error more often than factors above 1 do. Set by hand.
    followed_samples : int
        Largest number of samples on which the float and the quantised network run layer by layer. The
        standard error of a mean falls with the square root of this number, and the estimate of the mean
        corrects for the standard error, so more samples gain little.
    followed_inputs : int
        Largest number of elements of all inputs of these samples, but at least `FEWEST_FOLLOWED` samples run.
    followed_bytes : int
        Largest memory for the activations of these samples in bytes; small machines have this much to spare.
    range_sweeps : int
        Number of rounds in which the search of ranges adjusts every range once.
    range_runs : int
        Largest number of runs of the quantised model in the search of ranges, per calibration sample. Level 2
        may take about as long as calibration itself, level 3 five times as long.
    """

    level: int
    judging_runs: int
    judging_inputs: int
    scales: tuple[float, ...]
    followed_samples: int
    followed_inputs: int
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
            followed_inputs=800_000,
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
            followed_inputs=4_000_000,
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
            followed_inputs=8_000_000,
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
"""Least gain of a step that computes its change by a formula, without choosing among alternatives, in dB (set
by hand)."""
CHOICE_GAIN_DB = 0.2
"""Least gain of a step that chooses the best of several alternatives, in dB. It is larger, because the best
of several scores is better by chance alone (set by hand)."""
CHOSEN, FITTED, COMPUTED = 2.0, 1.0, -1.0
"""Numbers of standard deviations that a gain must exceed: for a choice among alternatives, for a fit to
measured outputs, and for a formula, which is undone only if it loses. On five random calibration lists of
resnet20, equalisation was kept three times below two, and lost each time. On mobilenetv2, biases in sequence
gained 4 dB on unseen images where the judge saw 1.9 deviations."""
FEW_JUDGES, FEW_JUDGES_GAIN_DB = 4, 1.0
"""With fewer judging samples, their deviation says little, and a choice must gain this many dB (set by hand:
the deviation of a gain on eight samples is about half a decibel)."""
FEWEST_AFFORDABLE = 4
"""Number of judging runs however large the inputs are, if there are enough samples. A model of 416 x 416 was
judged on a single image, and every second choice was wrong."""
FEWEST_RUNS = 2
"""Least number of runs for holding one back. A single sample cannot be used both to fit a step and to judge
it: rounding with feedback that was judged on the sample of its fit lost 17 dB."""
LEAST_STRIDE = 4
"""Of four or more samples, at most every fourth one is held back to judge; the others are used to fit."""
RESERVE = 4
"""A gain in doubt is judged once more, on this many times as many other samples. On four images, biases in
sequence gained 3.5 dB on mobilenetv2 with a deviation of 4.0, were undone, and cost 3.3 dB on unseen ones."""
FAIR_OUTPUTS = 2_000
"""Least number of output elements, over all judging samples, for a reliable score. The ten logits of each of
five images were too few to tell a gain from chance."""

# Equalisation.
MANY_RUNS = 64
"""With at least this many runs, the samples held back judge equalisation alone. With fewer, the samples are
divided into two halves, and each half judges the ranges of the other."""
RANGE_RUNS = 50
"""If there are many runs, about this many of them, at most every second one, give the ranges of channels.
With 18 of 92, equalisation was undone or weaker on four of seven networks of images: mobilenet_v2 lost
0.5 dB on eight unseen images, shufflenet 0.5, mobilenet_v3_large 1.2, mobilenet_v3_small 1.6."""
FOLDS = 2
"""Number of folds into which few samples are divided, so that each fold judges the ranges and scales of the
others. With 12 samples, four folds gave the same accuracy on two lists of each of five networks, and need
twice as many sessions."""
STRENGTHS = (1.0, 0.5)
"""Strengths of equalisation to try. More strengths do not help: rounding the weights can lose as much as int8
activations gain by strength 0.75."""
CAREFUL_STRENGTHS = (1.0, 0.5, 0.25)
"""Strengths to try if there are few samples; only the last one where little is lost anyway. With
12 photographs, a face detector reached 42 dB with 0.25, 36 dB with 0.5 and 30 dB with 1 on unseen ones."""
JUDGED_PER_FOLD, FEWEST_PER_FOLD = 12, 6
"""Largest numbers of runs on which a fold judges, for small and for large inputs. The runs of a trial would
otherwise grow up to `MANY_RUNS` samples and then fall: with 50 samples, squeezenet took 1.4 times as long as
with 100."""
MARGINS = (1.15, 1.4)
"""Factors to try for widening ranges, those of equalised tensors and those of all, if there are few samples.
With 12 images, resnet20 gained 0.16 dB on 200 unseen images over no widening."""

ENOUGH_DB = 30.0
"""If int8 activations alone reach this score, no factors are inserted around int8 operators and no tensors
are left float. On ten trained models from elsewhere, tasks lost nothing that can be measured above 25 dB."""
ADDED_NOISE = (0.15, 0.03)
"""Shares of the noise by which it may grow without the factors that are removed, in the order of trial. The
first one is 0.6 dB (set by hand)."""
LARGEST_LOSS_DB = -1.0
"""Removing factors may lose this much, in dB."""
FACTOR_GAIN_DB = 1.0
"""Least gain of factors around int8 operators, in dB; every factor is one more operator (set by hand)."""

LEAST_SPREAD, MOST_SPREADS = 8.0, 20
"""The least spread of the channels that the report shows, and the largest number of tensors."""

# Tensors left float.
LEAST_DB_PER_PERCENT = 0.5
"""Least predicted gain in dB for one percent of the multiply-accumulates (set by hand)."""
LEAST_FLOAT_GAIN_DB = 0.3
"""Least predicted gain of leaving one tensor float, in dB; every such tensor splits the int8 part of the
graph (set by hand)."""
FLOAT_CANDIDATES = 6
"""Number of the loudest tensors among which the next one is chosen; each costs one plan."""
RANKING_SAMPLES, SMALLEST_RANKING, HEAVY_RANKING = 4, 2, 1
"""Largest number of samples for measuring the noise of single tensors, the number for large inputs, and the
number for models that cannot be run `RANKING_RUNS` times. The noise of one image of 224 x 224 has thousands
of independent errors behind it."""
RANKING_RUNS, SMALLEST_RANKING_RUNS = 256, 64
"""Largest number of runs for measuring the noise of single tensors, for small and for large models."""
RANKING_MACS = 300_000_000_000
"""Multiply-accumulates of all these runs, between the two numbers: about 10 seconds on two slow cores, as
the runs of heavy models have one sample in place of `SMALLEST_RANKING`."""
SEGMENTS = 16
"""Number of segments of the graph whose noise is measured first."""
SIGNIFICANT_NOISE = 0.02
"""A segment with more than this share of the noise is divided further."""

# Biases in sequence.
FEWEST_FOLLOWED = 8
"""Number of samples on which both networks run layer by layer however large the inputs are, if there are so
many and their activations fit into memory."""
LIVE_TENSORS = 6
"""Number of activations, each as large as the largest, that are in memory while two networks run layer by
layer: input and output of a layer and one branch, for both networks."""

# The search of ranges.
PROBES = 6
"""Number of inner tensors whose error counts besides that of the outputs. Without them, a search on outputs
of few elements would fit chance. Their number hardly matters: with 24 images at level 3, resnet20 had 27.48
dB with 1, 27.43 dB with 6 and 27.40 dB with 12, on 200 unseen images."""
RANGE_STEPS = (0.88, 1.14)
"""Factors by which a trial narrows or widens a range; their product is nearly 1 (set by hand)."""
LEAST_PROGRESS = 0.998
"""A trial is kept if its error is at most this fraction of the error before; smaller gains are taken for
chance (set by hand)."""
