"""Advice: findings in words, each with its evidence and the JSON that acts on it.

A rule is a function from a report and its subject to findings; it stays silent unless what it measures is
far outside what good runs show. Rules about single layers speak only where the result is poor: a layer that
could be better is no news while the outputs are fine.
"""

from __future__ import annotations

from collections.abc import Callable

from xslim.analysis.advice.layers import float_branch, outlier_channels
from xslim.analysis.advice.preprocessing import mean_scale, odd_inputs, swapped_channels
from xslim.analysis.advice.ranges import clipping, mixed_concat
from xslim.analysis.advice.samples import few_samples, growing_ranges
from xslim.analysis.report import Finding, Report
from xslim.analysis.subject import Subject

__all__ = ["RULES", "advise"]

Rule = Callable[[Report, Subject], list[Finding]]

RULES: tuple[Rule, ...] = (
    mean_scale,
    swapped_channels,
    odd_inputs,
    few_samples,
    growing_ranges,
    clipping,
    mixed_concat,
    float_branch,
    outlier_channels,
)
"""In the order of what to look at first: a wrong input makes every other finding doubtful."""


def advise(report: Report, subject: Subject) -> tuple[Finding, ...]:
    """Apply every rule to a report that has no findings yet."""
    return tuple(finding for rule in RULES for finding in rule(report, subject))
