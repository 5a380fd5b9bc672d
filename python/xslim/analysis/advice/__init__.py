"""Advice: findings in words, each with its evidence and the change of the configuration that applies it.

A rule is a function from a report and its subject to findings. It returns a finding only if its measure is
far outside the range of good runs. Rules about single layers apply only if the result is poor: while the
outputs are good, a single bad layer does not matter.
"""

from __future__ import annotations

from xslim.analysis.advice.columns import lost_columns
from xslim.analysis.advice.layers import float_branch, outlier_channels
from xslim.analysis.advice.preprocessing import mean_scale, measured, odd_inputs, swapped_channels
from xslim.analysis.advice.ranges import clipping, mixed_concat
from xslim.analysis.advice.samples import few_samples, growing_ranges
from xslim.analysis.report import Finding, Report
from xslim.analysis.subject import Subject

__all__ = ["PREPROCESSING", "advise"]

PREPROCESSING = "preprocessing."
"""How the codes of findings begin that say that the model is fed with wrong inputs."""


def advise(report: Report, subject: Subject) -> tuple[Finding, ...]:
    """Apply every rule to a report that has no findings yet.

    Findings are sorted by the order in which to act on them: a wrong input makes all other findings doubtful.
    If a Concat whose inputs differ in scale is found, findings about single operators are left out, because
    the Concat causes their errors.
    """
    mixed = mixed_concat(report, subject)
    return (
        *(measured(subject) or mean_scale(subject)),
        *swapped_channels(subject),
        *odd_inputs(subject),
        *few_samples(subject),
        *growing_ranges(subject),
        *clipping(report, subject),
        *lost_columns(report, subject),
        *(mixed or (*float_branch(report, subject), *outlier_channels(report, subject))),
    )
