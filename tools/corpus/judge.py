"""Judge a result against the original model with onnxruntime alone, independently of XSlim's code."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from tools.corpus.samples import Input, Recipe, Sample, draw, recipes

MOST_DECIBELS = 200.0
SMALLEST = 1e-6
"""Relative differences are relative to the expected value, or to this number if it is larger."""

UNKNOWN = (
    "is not a registered function/op",
    "Could not find an implementation",
    "No opset import",
    "No Op registered",
    "only *guarantees* support",
    "Unsupported model IR version",
)
"""Messages of onnxruntime for valid models that it does not support."""

Arrays = list[np.ndarray[Any, Any]]


@dataclass(frozen=True)
class Original:
    """Whether the original model loads and runs, on which inputs, and whether two runs give equal results."""

    loads: bool
    runs: bool
    recipe: Recipe | None = None
    repeats: bool = True
    why: str = ""
    inputs: list[Input] = field(default_factory=list)

    @property
    def is_refused(self) -> bool:
        """Whether onnxruntime knows the operators and yet refuses the model."""
        return not self.loads and not any(words in self.why for words in UNKNOWN)

    def write(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self)))

    @staticmethod
    def read(path: Path) -> Original:
        """Read what `write` wrote."""
        fields = json.loads(path.read_text())
        recipe = fields.pop("recipe")
        inputs = [Input(**one) for one in fields.pop("inputs")]
        return Original(**fields, recipe=None if recipe is None else Recipe(**recipe), inputs=inputs)


@dataclass(frozen=True)
class Judgement:
    """Result beside original: greatest relative difference, lowest SQNR in dB, what is wrong if anything.

    `noise` is the relative difference between the original with and without onnxruntime's optimisations. It
    is large if values nearly cancel or if the model contains int8 operators.
    """

    difference: float | None = None
    decibels: float | None = None
    noise: float = 0.0
    fault: str = ""


def session(model: Path, *, optimise: bool = True) -> ort.InferenceSession:
    """Open a model as a user would, without the warnings."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if not optimise:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def try_original(model: Path, samples: list[Sample], seed: str) -> Original:
    """Find inputs on which the original model runs; given samples are taken as they are."""
    try:
        opened = session(model)
    except Exception as full:  # noqa: BLE001 - onnxruntime raises many kinds
        try:
            opened = session(model, optimise=False)
        except Exception:  # noqa: BLE001
            return Original(loads=False, runs=False, why=_line(full))
    declared = [Input(value.name, value.type, list(value.shape)) for value in opened.get_inputs()]
    why = "no input of this type can be drawn"
    tries = [(None, samples[0])] if samples else ((r, draw(declared, r, seed)) for r in recipes(declared))
    for recipe, sample in tries:
        if sample is None:
            continue
        first, second = _attempt(opened, sample), _attempt(opened, sample)
        if isinstance(first, str) or isinstance(second, str):
            why = str(first)
            continue
        return Original(True, True, recipe, _difference(first, second) <= SMALLEST, inputs=declared)
    return Original(loads=True, runs=False, why=why)


def compare(original: Path, result: Path, samples: list[Sample]) -> Judgement:
    """Run both models on the samples that suit the original, and compare all outputs."""
    plain = session(original, optimise=False)
    try:
        before = session(original)
    except Exception:  # noqa: BLE001
        before = plain
    try:
        after = session(result)
    except Exception as error:  # noqa: BLE001
        return Judgement(fault=f"the result does not load: {_line(error)}")
    for what, names in (("inputs", _inputs), ("outputs", _outputs)):
        if names(before) != names(after):
            return Judgement(fault=f"{what} changed: {names(before)} became {names(after)}")
    expected: list[Arrays] = []
    unoptimised: list[Arrays] = []
    returned: list[Arrays] = []
    for sample in samples:
        arrays = _attempt(before, sample)
        if isinstance(arrays, str):
            continue
        expected.append(arrays)
        unoptimised.append(flat_run(plain, sample))
        arrays = _attempt(after, sample)
        if isinstance(arrays, str):
            return Judgement(fault=f"the result does not run: {arrays}")
        returned.append(arrays)
        if fault := _fault(expected[-1], arrays):
            return Judgement(fault=fault)
    return Judgement(
        _most_difference(expected, returned) if expected else None,
        _decibels(expected, returned),
        _most_difference(expected, unoptimised),
    )


def _attempt(opened: ort.InferenceSession, sample: Sample) -> Arrays | str:
    """Return the outputs, or why there are none."""
    try:
        return flat_run(opened, sample)
    except Exception as error:  # noqa: BLE001
        return _line(error)


def flat_run(opened: ort.InferenceSession, sample: Sample) -> Arrays:
    """Run a model; outputs that are sequences, maps or optional become the arrays in them."""
    return [array for value in opened.run(None, sample) for array in _arrays(value)]


def _arrays(value: Any) -> Arrays:
    if value is None:
        return []
    if isinstance(value, dict):
        return [np.asarray(list(value.keys())), np.asarray(list(value.values()))]
    if isinstance(value, list):
        return [array for item in value for array in _arrays(item)]
    return [np.asarray(value)]


def _inputs(opened: ort.InferenceSession) -> list[str]:
    return [f"{value.name} {value.type}" for value in opened.get_inputs()]


def _outputs(opened: ort.InferenceSession) -> list[str]:
    return [f"{value.name} {value.type}" for value in opened.get_outputs()]


def _most_difference(expected: list[Arrays], returned: list[Arrays]) -> float:
    return max((_difference(a, b) for a, b in zip(expected, returned, strict=True)), default=0.0)


def _fault(expected: Arrays, returned: Arrays) -> str:
    shapes = [[array.shape for array in arrays] for arrays in (expected, returned)]
    if shapes[0] != shapes[1]:
        return f"shapes changed: {shapes[0]} became {shapes[1]}"
    for index, (a, b) in enumerate(zip(expected, returned, strict=True)):
        if a.dtype.kind == "f" and np.isfinite(a).all() and not np.isfinite(b).all():
            return f"output {index} has values that are not finite"
    return ""


def _difference(expected: Arrays, returned: Arrays) -> float:
    """Return the greatest relative difference of any output; values that are not finite must be equal."""
    return max((_relative(a, b) for a, b in zip(expected, returned, strict=True)), default=0.0)


def _relative(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    if not a.size:
        return 0.0
    if a.dtype.kind not in "fiub":
        return float(not np.array_equal(a, b))
    a, b = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return float("inf")
    a, b = a[finite], b[finite]
    if not a.size:
        return 0.0
    return float(np.abs(a - b).max() / max(np.abs(a).max(), SMALLEST))


def _decibels(expected: list[Arrays], returned: list[Arrays]) -> float | None:
    """Return the lowest ratio of signal to noise of any output that has one."""
    figures = []
    for a, b in zip(zip(*expected, strict=True), zip(*returned, strict=True), strict=True):
        if a[0].dtype.kind != "f":
            continue
        signal = np.concatenate([array.astype(np.float64).ravel() for array in a])
        noise = signal - np.concatenate([array.astype(np.float64).ravel() for array in b])
        finite = np.isfinite(noise)
        power, error = float(np.square(signal[finite]).sum()), float(np.square(noise[finite]).sum())
        if power > 0:
            figures.append(MOST_DECIBELS if error == 0 else min(10 * np.log10(power / error), MOST_DECIBELS))
    return float(min(figures)) if figures else None


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
