"""Rules that find too few calibration samples, or samples that do not represent the model's later inputs."""

from __future__ import annotations

from statistics import median

from xslim.analysis.report import Finding
from xslim.analysis.subject import Subject

ENOUGH_SAMPLES = 10
USUAL_SAMPLES = 100
GROWTH = 1.1
"""A range is still growing if its final width is this many times its width after three quarters of the
samples."""
GROWING_SHARE = 0.5
"""The finding is reported if more than this share of the ranges are growing; a few always grow by chance."""


def few_samples(subject: Subject) -> list[Finding]:
    """Find runs with too few samples to choose ranges from."""
    count = subject.calibration_samples
    if count >= ENOUGH_SAMPLES:
        return []
    growth = _growth(subject)
    evidence: dict[str, object] = {"calibration_samples": count}
    if growth:
        evidence["median_range_growth_over_last_quarter"] = round(median(growth.values()), 4)
    return [
        Finding(
            code="samples.few",
            title=f"Only {count} calibration sample{'s' if count != 1 else ''}",
            text=(
                "Ranges are chosen from what these samples happen to hold; other inputs will be clipped. "
                f"Some {USUAL_SAMPLES} samples that look like real use are enough. Give more, and "
                "let calibration_step read all of them."
            ),
            evidence=evidence,
            where=(),
            change={"calibration_parameters": {"calibration_step": USUAL_SAMPLES}},
        )
    ]


def growing_ranges(subject: Subject) -> list[Finding]:
    """Find runs in which the last quarter of the samples widened many ranges."""
    growth = _growth(subject)
    if subject.calibration_samples < ENOUGH_SAMPLES or not growth:
        return []
    growing = sum(factor > GROWTH for factor in growth.values()) / len(growth)
    if growing < GROWING_SHARE:
        return []
    widest = sorted(growth, key=lambda name: (-growth[name], name))[:5]
    used = subject.config.calibration_parameters.calibration_step
    return [
        Finding(
            code="samples.growing",
            title=f"The ranges of {growing:.0%} of the tensors were still growing at the end of calibration",
            text=(
                "The last quarter of the samples held values that the first three quarters had not shown. "
                "Either there are too few samples, or the list is sorted so that its end differs from its "
                "start. Use more samples that look like real use."
            ),
            evidence={
                "calibration_samples": subject.calibration_samples,
                "share_of_growing_tensors": round(growing, 4),
                "growth": {name: round(growth[name], 4) for name in widest},
            },
            where=tuple(widest),
            change={"calibration_parameters": {"calibration_step": 2 * max(used, USUAL_SAMPLES)}},
        )
    ]


def _growth(subject: Subject) -> dict[str, float]:
    """Return the final width of every range over its width after three quarters of the samples."""
    growth = {}
    for name, (low, high) in subject.early_ranges.items():
        sketch = subject.sketches.get(name)
        if sketch is not None and not sketch.is_empty and high > low:
            growth[name] = (sketch.max - sketch.min) / (high - low)
    return growth
