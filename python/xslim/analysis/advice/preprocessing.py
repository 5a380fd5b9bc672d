"""Rules that find wrong preprocessing, the most frequent reason for a bad result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xslim.analysis.report import Finding
from xslim.analysis.subject import Subject
from xslim.config import InputParameters
from xslim.graph.inputs import input_specs
from xslim.runtime import Feeds, Session

PIXEL_MAX = 255.0
COLOURS = 3

IMAGENET_MEANS = {"rgb": (123.675, 116.28, 103.53), "bgr": (103.53, 116.28, 123.675)}
"""Mean colour of the ImageNet photographs, in the orders RGB and BGR."""
MEAN_TOLERANCE = 2.0

SWAP_Z = 2.5
"""Mean gain in confidence from swapping the channels, in standard errors, above which swapping is advised."""
SWAP_GAIN = 0.15
"""Mean gain in the log-probability of the predicted class above which swapping is advised."""
SWAP_ROUND, FEWEST_SWAPS = 4, 12
"""Every `SWAP_ROUND` samples the test ends if the gain so far is below one standard error. With fewer than
`FEWEST_SWAPS` samples no test is made."""


def measured(subject: Subject) -> list[Finding]:
    """Find a preprocessing that suits the float model clearly better than that of the configuration."""
    judged = subject.preprocessing
    if judged is None or not judged.better:
        return []
    numbers = {"mean_value": list(judged.mean), "std_value": list(judged.deviation)} if judged.mean else {}
    return [
        Finding(
            code="preprocessing.measured",
            title=f"Another preprocessing suits {judged.input_name} clearly better: {judged.better}",
            text="The float model was asked with some of the samples. Float and int8 agree on wrong inputs "
            "as well, so no other figure of this report shows the error.",
            evidence={"configured": judged.figure, "better": judged.better_figure},
            where=(judged.input_name,),
            change=_with_entry(subject, _index_of(judged.input_name, subject), numbers) if numbers else {},
        )
    ]


def mean_scale(subject: Subject) -> list[Finding]:
    """Find a mean and deviation that suit pixels from 0 to 1, although the pixels go from 0 to 255."""
    findings = []
    for index, name, entry in _image_inputs(subject):
        mean, std = entry.mean_value or (0.0,), entry.std_value or (1.0,)
        if max(map(abs, mean)) > 1 or max(mean) <= 0 or max(map(abs, std)) > 1:
            continue
        fixed = {
            "mean_value": [round(PIXEL_MAX * value, 4) for value in mean],
            "std_value": [round(PIXEL_MAX * value, 4) for value in std],
        }
        low, high = _input_range(name, subject.samples)
        findings.append(
            Finding(
                code="preprocessing.mean-scale",
                title=f"mean_value and std_value of {name} look as if pixels went from 0 to 1",
                text="They apply to pixels from 0 to 255. What the model is fed with now lies far outside "
                "what it was trained on; multiply both by 255.",
                evidence={"mean_value": list(mean), "std_value": list(std), "fed_range": [low, high]},
                where=(name,),
                change=_with_entry(subject, index, fixed),
            )
        )
    return findings


def swapped_channels(subject: Subject) -> list[Finding]:
    """Find colour channels in the wrong order, by a known mean colour or by the model's confidence."""
    findings = []
    for index, name, entry in _image_inputs(subject):
        other = "bgr" if entry.color_format == "rgb" else "rgb"
        if _has_mean_of(entry.color_format, entry):
            continue
        evidence: dict[str, Any] = (
            {"mean_value": list(entry.mean_value or ()), "mean_order": other}
            if _has_mean_of(other, entry)
            else _confidence(name, subject)
        )
        if evidence:
            findings.append(
                Finding(
                    code="preprocessing.swapped-channels",
                    title=f"The colour channels of {name} seem to be swapped",
                    text=f'color_format is "{entry.color_format}", but the evidence speaks for "{other}". '
                    "With swapped channels the ranges are chosen for pictures that the model never sees.",
                    evidence={"color_format": entry.color_format, **evidence},
                    where=(name,),
                    change=_with_entry(subject, index, {"color_format": other}),
                )
            )
    return findings


def odd_inputs(subject: Subject) -> list[Finding]:
    """Find inputs that no usual preprocessing makes: constant, or far outside every usual range."""
    findings = []
    for spec in input_specs(subject.reference):
        if spec.dtype.kind != "f" or spec.shape is None or len(spec.shape) != 4:
            continue
        low, high = _input_range(spec.name, subject.samples)
        if low == high or max(abs(low), abs(high)) > PIXEL_MAX + 1:
            findings.append(
                Finding(
                    code="preprocessing.odd-input",
                    title=f"The values of {spec.name} are unusual: {low:g} to {high:g}",
                    text="Images are fed as 0 to 1, as 0 to 255, or normalised to a few units around zero. "
                    "Check the files of this input and its mean_value, std_value and preprocess_file.",
                    evidence={"fed_range": [low, high]},
                    where=(spec.name,),
                    change=_with_entry(
                        subject, _index_of(spec.name, subject), {"mean_value": [0.0], "std_value": [255.0]}
                    ),
                )
            )
    return [] if mean_scale(subject) else findings


def _image_inputs(subject: Subject) -> Iterator[tuple[int, str, InputParameters]]:
    """Yield position, input name and entry of each input that is decoded from colour images."""
    names = [spec.name for spec in input_specs(subject.reference)]
    for index, entry in enumerate(subject.config.calibration_parameters.input_parameters):
        own_function = entry.has_own_function
        if entry.file_type == "img" and not own_function and index < len(names):
            yield index, entry.input_name or names[index], entry


def _index_of(name: str, subject: Subject) -> int:
    names = [spec.name for spec in input_specs(subject.reference)]
    entries = subject.config.calibration_parameters.input_parameters
    given = [entry.input_name or names[index] for index, entry in enumerate(entries)]
    return given.index(name)


def _with_entry(subject: Subject, index: int, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the whole list of inputs with some fields of one entry replaced, as merging replaces lists."""
    entries = subject.config.calibration_parameters.input_parameters
    dumped = [entry.model_dump(mode="json", exclude_unset=True) for entry in entries]
    dumped[index] |= fields
    return {"calibration_parameters": {"input_parameters": dumped}}


def _input_range(name: str, samples: Sequence[Feeds]) -> tuple[float, float]:
    low = min(float(sample[name].min(initial=math.inf)) for sample in samples)
    high = max(float(sample[name].max(initial=-math.inf)) for sample in samples)
    return float(f"{low:.6g}"), float(f"{high:.6g}")


def _has_mean_of(order: str, entry: InputParameters) -> bool:
    """Whether the entry's mean is that of ImageNet in this order of colours."""
    mean = entry.mean_value or ()
    known = IMAGENET_MEANS[order]
    return len(mean) == COLOURS and all(
        abs(value - expected) < MEAN_TOLERANCE for value, expected in zip(mean, known, strict=True)
    )


def _confidence(name: str, subject: Subject) -> dict[str, Any]:
    """Return evidence that swapped channels raise the float model's confidence; empty if they do not.

    The test applies to classifiers only: models with one output that is a vector of classes. It ends early if
    the confidence falls on the first samples, as it does if the channels are in the right order.
    """
    axis = _colour_axis(name, subject)
    output = _class_output(subject)
    if axis is None or output is None or len(subject.samples) < FEWEST_SWAPS:
        return {}
    session = Session(subject.reference, [output])
    gains: list[float] = []
    for sample in subject.samples:
        swapped = np.ascontiguousarray(np.flip(sample[name], axis))
        gains.append(_surety(session.run({**sample, name: swapped})[0]) - _surety(session.run(sample)[0]))
        if len(gains) % SWAP_ROUND == 0 and _z(gains) < 1:
            return {}
    if np.mean(gains) < SWAP_GAIN or _z(gains) < SWAP_Z:
        return {}
    return {
        "confidence_gain_when_swapped": round(float(np.mean(gains)), 4),
        "standard_errors": round(_z(gains), 2),
        "samples": len(gains),
    }


def _z(gains: Sequence[float]) -> float:
    """Return the mean divided by its standard error; 0 if all values are equal."""
    error = float(np.std(gains, ddof=1)) / math.sqrt(len(gains))
    return float(np.mean(gains)) / error if error > 0 else 0.0


def _colour_axis(name: str, subject: Subject) -> int | None:
    shape = next(sample[name].shape for sample in subject.samples)
    if len(shape) != 4 or COLOURS not in (shape[1], shape[-1]):
        return None
    return 1 if shape[1] == COLOURS else -1


def _class_output(subject: Subject) -> str | None:
    outputs = subject.reference.graph.outputs
    if len(outputs) != 1 or outputs[0].shape is None or len(outputs[0].shape) != 2:
        return None
    return outputs[0].name


def _surety(scores: NDArray[np.generic]) -> float:
    """Return the mean log-probability of the predicted class; scores are logits or probabilities."""
    values = scores.astype(np.float64).reshape(scores.shape[0], -1)
    if values.min() >= 0 and np.allclose(values.sum(axis=1), 1, atol=1e-3):
        logs = np.log(np.maximum(values, 1e-12))
    else:
        logs = values - np.logaddexp.reduce(values, axis=1, keepdims=True)
    return float(logs.max(axis=1).mean())
