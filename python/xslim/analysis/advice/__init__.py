"""Advice: findings in words, each with its evidence and the JSON that acts on it.

A rule is a function from a report and its subject to findings; it stays silent unless what it measures is
far outside what good runs show. Rules about single layers speak only where the result is poor: a layer that
could be better is no news while the outputs are fine.
"""

from __future__ import annotations

from xslim.analysis.advice.layers import float_branch, outlier_channels
from xslim.analysis.advice.preprocessing import mean_scale, odd_inputs, swapped_channels
from xslim.analysis.advice.ranges import clipping, mixed_concat
from xslim.analysis.advice.samples import few_samples, growing_ranges
from xslim.analysis.report import Finding, Report
from xslim.analysis.subject import Subject

__all__ = ["advise"]


def advise(report: Report, subject: Subject) -> tuple[Finding, ...]:
    """Apply every rule to a report that has no findings yet.

    They come in the order of what to look at first: a wrong input makes every other finding doubtful. Behind
    a Concat that crushes its inputs, single operators are victims and not worth a finding.
    """
    mixed = mixed_concat(report, subject)
    return (
        *mean_scale(subject),
        *swapped_channels(subject),
        *odd_inputs(subject),
        *few_samples(subject),
        *growing_ranges(subject),
        *clipping(report, subject),
        *(mixed or (*float_branch(report, subject), *outlier_channels(report, subject))),
    )
