"""Rules that find the layers which cause a poor result."""

from __future__ import annotations

from statistics import median
from typing import Any

from xslim.analysis.report import HIGHEST_FINETUNE, Finding, Report, TensorReport
from xslim.analysis.subject import Subject
from xslim.config import PrecisionLevel

MOST_OPERATORS = 5
NOISE_LIMIT = 0.1
"""Local noise energy over signal energy above which an operator is a cause."""
HIGHEST_STATIC_LEVEL = max(level for level in PrecisionLevel if level.is_static)
PEAK_RATIO = 32.0
"""Magnitude of the largest channel over that of the median channel. Above this ratio, a range per tensor
leaves less than three bits for most channels."""


def float_branch(report: Report, subject: Subject) -> list[Finding]:
    """Find operators whose own error is large, and not those that only pass on the errors of others."""
    if report.verdict.level != "poor":
        return []
    causes = sorted(
        (tensor for tensor in report.tensors if tensor.local.noise_ratio > NOISE_LIMIT and tensor.op_name),
        key=lambda tensor: (-tensor.local.noise_ratio, tensor.depth),
    )
    if not causes:
        return _many_small(report, subject)
    shown = causes[:MOST_OPERATORS]
    ignored = subject.config.quantization_parameters.ignore_op_names
    names = list(dict.fromkeys([*ignored, *(tensor.op_name for tensor in shown)]))
    return [
        Finding(
            code="accuracy.float-branch",
            title=f"{len(causes)} operator{'s lose' if len(causes) > 1 else ' loses'} most of the accuracy",
            text=(
                "Fed with exact inputs, these operators alone already miss more than a tenth of their "
                "output's energy. Keep them in float; the layers after them then recover."
            ),
            evidence={
                tensor.op_name: {
                    "local_snr": round(tensor.local.noise_ratio, 6),
                    "accumulated_snr": round(tensor.accumulated.noise_ratio, 6),
                }
                for tensor in shown
            },
            where=tuple(tensor.op_name for tensor in shown),
            change={"quantization_parameters": {"ignore_op_names": names}},
        )
    ]


def _many_small(report: Report, subject: Subject) -> list[Finding]:
    quantization = subject.config.quantization_parameters
    change: dict[str, Any]
    if quantization.finetune_level < HIGHEST_FINETUNE:
        change = {"finetune_level": quantization.finetune_level + 1}
    elif quantization.precision_level < HIGHEST_STATIC_LEVEL:
        change = {"precision_level": quantization.precision_level + 1}
    else:
        return []
    local = [tensor.local.noise_ratio for tensor in report.tensors]
    return [
        Finding(
            code="accuracy.accumulates",
            title="No layer is bad alone, but their errors add up",
            text="A higher finetune_level lowers the error of every layer; a higher precision_level keeps "
            "sensitive kinds of operators in float.",
            evidence={
                "median_local_snr": round(median(local), 6),
                "output_snr": round(max(output.errors.noise_ratio for output in report.outputs), 6),
            },
            where=(),
            change={"quantization_parameters": change},
        )
    ]


def outlier_channels(report: Report, subject: Subject) -> list[Finding]:
    """Find tensors in which a few channels are so large that they determine the whole range."""
    if report.verdict.level != "poor":
        return []
    spread = {tensor.name: _spread(tensor) for tensor in report.tensors if tensor.channels}
    bad = [
        t
        for t in report.tensors
        if spread.get(t.name, 0) > PEAK_RATIO and t.local.noise_ratio > NOISE_LIMIT / 10
    ]
    if not bad:
        return []
    worst = sorted(bad, key=lambda tensor: (-spread[tensor.name], tensor.name))[:MOST_OPERATORS]
    quantization = subject.config.quantization_parameters
    level = min(quantization.finetune_level + 1, HIGHEST_FINETUNE)
    ignored = [*quantization.ignore_op_names, *(tensor.op_name for tensor in worst)]
    change = (
        {"finetune_level": level} if level > quantization.finetune_level else {"ignore_op_names": ignored}
    )
    return [
        Finding(
            code="ranges.outlier-channels",
            title=f"In {len(bad)} tensor{'s' if len(bad) > 1 else ''} a few channels take the whole range",
            text=(
                "One scale serves all channels, so the small ones are left with a few steps. Equalisation "
                "and reconstruction (finetune_level) even channels out; otherwise keep these operators float."
            ),
            evidence={
                tensor.name: {
                    "largest_channel": max(range(len(tensor.channels)), key=tensor.channels.__getitem__),
                    "largest_over_median": round(spread[tensor.name], 2),
                    "local_snr": round(tensor.local.noise_ratio, 6),
                }
                for tensor in worst
            },
            where=tuple(tensor.name for tensor in worst),
            change={"quantization_parameters": change},
        )
    ]


def _spread(tensor: TensorReport) -> float:
    alive = [peak for peak in tensor.channels if peak > 0]
    return max(alive) / median(alive) if alive else 0.0
