"""Rules that find ranges that do not fit the values: too narrow, or shared by tensors of different scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xslim.analysis.report import Finding, Report, TensorReport
from xslim.analysis.subject import Subject

CLIP_NOISE = 1e-3
"""Energy of clipping over signal energy; clipping below this (30 dB) does not matter."""
CLIP_OVER_ROUNDING = 4.0
"""A good range balances clipping noise and rounding noise. A range is too narrow if its clipping noise is
this many times its rounding noise."""
CLIPPED_SHARE = 0.2
"""The finding is reported if more than this share of the tensors have too narrow ranges."""
SHOWN = 5

SCALE_RATIO = 8.0
"""A tensor whose shared range is this many times as wide as its own range loses three of its eight bits."""
SHARED_NOISE = 0.02
"""Local noise over signal energy above which a shared range is reported."""
STEPS = 255


def clipping(report: Report, subject: Subject) -> list[Finding]:
    """Find ranges that are so narrow that clipping causes far more noise than rounding."""
    clipped = [tensor for tensor in report.tensors if _is_clipped(tensor, subject)]
    if not clipped or len(clipped) < CLIPPED_SHARE * len(report.tensors):
        return []
    worst = sorted(clipped, key=lambda tensor: (-tensor.chosen.clip_noise, tensor.name))[:SHOWN]
    method = subject.config.calibration_parameters.calibration_type
    return [
        Finding(
            code="ranges.clipping",
            title=f"The ranges of {len(clipped)} of {len(report.tensors)} tensors are too narrow",
            text=(
                f"The calibration type {method!r} cuts off values whose energy is larger than the rounding "
                'error that a wider range would bring. The type "default" weighs both against each other.'
            ),
            evidence={
                tensor.name: {
                    "clipped_share": round(tensor.chosen.clipped, 6),
                    "clip_noise_over_signal": round(tensor.chosen.clip_noise, 6),
                    "float_range": [round(value, 6) for value in tensor.float_range],
                    "int8_range": [round(tensor.chosen.low, 6), round(tensor.chosen.high, 6)],
                }
                for tensor in worst
            },
            where=tuple(tensor.name for tensor in worst),
            change=_wider(method),
        )
    ]


def _is_clipped(tensor: TensorReport, subject: Subject) -> bool:
    sketch = subject.sketches.get(tensor.name)
    noise = tensor.chosen.clip_noise
    if sketch is None or noise < CLIP_NOISE:
        return False
    rest = max(tensor.local.noise_ratio - noise, 0.0)
    return noise > CLIP_OVER_ROUNDING * rest or noise > CLIP_OVER_ROUNDING * _rounding(tensor)


def _rounding(tensor: TensorReport) -> float:
    """Return the rounding noise over signal energy of a range that covers all values."""
    low, high = tensor.float_range
    return _noise(tensor, (max(high, 0.0) - min(low, 0.0)) / STEPS)


def _wider(method: str) -> dict[str, Any]:
    if method != "default":
        return {"calibration_parameters": {"calibration_type": "default"}}
    return {"calibration_parameters": {"calibration_type": "minmax"}}


def mixed_concat(report: Report, subject: Subject) -> list[Finding]:
    """Find a Concat whose inputs differ in scale but share the output's range, as at the end of detectors."""
    tensors = {tensor.name: tensor for tensor in report.tensors}
    mixing = []
    for node in subject.reference.graph:
        output = tensors.get(node.outputs[0].name or "")
        if node.op_type != "Concat" or node.name not in subject.plan.int8_operators or output is None:
            continue
        joined = [tensors[value.name] for value in node.inputs if value is not None and value.name in tensors]
        crushed = [tensor for tensor in joined if _is_crushed(tensor, output.chosen.scale)]
        if crushed:
            mixing.append((node.name or "", joined, crushed, output.chosen.scale))
    ignored = subject.config.quantization_parameters.ignore_op_names
    change = {"ignore_op_names": [*ignored, *(name for name, *_ in mixing)]}
    return [_mixed(*numbers, {"quantization_parameters": change}) for numbers in mixing]


def _is_crushed(tensor: TensorReport, scale: float) -> bool:
    return _steps(tensor, scale) * SCALE_RATIO < STEPS and _noise(tensor, scale) > SHARED_NOISE


def _steps(tensor: TensorReport, scale: float) -> float:
    """Return how many of the 255 steps the tensor's own range covers."""
    low, high = tensor.float_range
    return (high - low) / scale


def _noise(tensor: TensorReport, scale: float) -> float:
    """Return the rounding noise over signal energy of a tensor for a given scale."""
    power = _power(tensor)
    return scale**2 / 12 / power if power > 0 else 0.0


def _power(tensor: TensorReport) -> float:
    """Return the mean square of the float values."""
    return tensor.local.mse / tensor.local.noise_ratio if tensor.local.noise_ratio > 0 else 0.0


def _mixed(
    name: str,
    joined: list[TensorReport],
    crushed: list[TensorReport],
    scale: float,
    change: Mapping[str, Any],
) -> Finding:
    worst = min(crushed, key=lambda tensor: _steps(tensor, scale))
    return Finding(
        code="ranges.mixed-concat",
        title=f"{name} joins tensors of different scale in one int8 range",
        text=(
            f"Behind it, {worst.name} reaches only {max(_steps(worst, scale), 1):.0f} of the {STEPS} steps, "
            "because it shares them with a tensor of much larger values (boxes beside scores, for example). "
            "Keep this Concat in float: every input then keeps a range of its own."
        ),
        evidence={
            tensor.name: {
                "float_range": [round(value, 6) for value in tensor.float_range],
                "steps_behind_the_concat": round(_steps(tensor, scale), 1),
                "rounding_noise_over_signal": round(_noise(tensor, scale), 6),
            }
            for tensor in joined
        },
        where=(name, *(tensor.name for tensor in crushed)),
        change=change,
    )
