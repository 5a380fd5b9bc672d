"""``xslim compare``: the outputs of two models side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim import kernels
from xslim.commands.compared_samples import samples_to_compare
from xslim.commands.metric import Metric, measured
from xslim.commands.text import say, say_json
from xslim.config import CalibrationParameters
from xslim.errors import ConfigError, DataError, ModelError
from xslim.graph.inputs import input_specs
from xslim.pipeline.paths import ModelSource
from xslim.pipeline.protect import load_protected_model
from xslim.runtime import Isolated

Array = NDArray[np.generic]

COMPARABLE = "compare a model with what was made from it"
HEADS = ("output", "SQNR dB", "cosine", "MSE", "largest error", "top-1 same", "equal")


@dataclass(frozen=True)
class OutputPair:
    """One output of both models.

    Attributes
    ----------
    name : str
        The output.
    sqnr_db, cosine, mse, max_abs_error : float or None
        The second model against the first; None for outputs that are not floating-point.
    top1_agreement : float or None
        Share of the rows whose largest entry is the same, for outputs of shape (rows, classes).
    equal : float
        Share of the elements that are equal.
    """

    name: str
    sqnr_db: float | None
    cosine: float | None
    mse: float | None
    max_abs_error: float | None
    top1_agreement: float | None
    equal: float


def run(first: str, second: str, data: str | None, samples: int, as_json: bool) -> int:
    """Print one row per output."""
    if samples < 1:
        raise ConfigError("must be at least 1", where="--samples")
    place = Path(data) if data else None
    found = compare_models(Path(first), Path(second), place, samples)
    if as_json:
        say_json(found.as_json())
        return 0
    say(*_table(found.outputs))
    say(f"{found.samples} sample{'s' if found.samples > 1 else ''}{'' if place else ' of random numbers'}")
    return 0


@dataclass(frozen=True)
class ModelComparison:
    """The outputs of two models on the same samples.

    Attributes
    ----------
    samples : int
        Number of samples.
    outputs : tuple of OutputPair
        One row for every output that both models have.
    metric : pair of float, or None
        What the user's metric says about the first and the second model.
    """

    samples: int
    outputs: tuple[OutputPair, ...]
    metric: tuple[float, float] | None = None

    def as_json(self) -> dict[str, object]:
        """Return plain data for JSON; what is not finite is null."""
        rows = [{key: _finite(value) for key, value in asdict(output).items()} for output in self.outputs]
        found: dict[str, object] = {"samples": self.samples, "outputs": rows}
        return found if self.metric is None else found | {"metric": [_finite(value) for value in self.metric]}


def compare_models(
    first: ModelSource,
    second: ModelSource,
    data: Path | CalibrationParameters | None,
    count: int,
    metric: Metric | None = None,
) -> ModelComparison:
    """Run two models on the same samples.

    Parameters
    ----------
    first, second : Path or onnx.ModelProto
        The models; the first is the reference. Inputs and outputs have the same names.
    data : Path or CalibrationParameters, optional
        A configuration (its calibration data), a list file, a folder, or an ``.npz`` with one array per
        input whose first axis counts the samples. Without it, one random input.
    count : int
        Largest number of samples.
    metric : callable, optional
        Rates both models: it is called with a function that runs one, and returns a number.

    Raises
    ------
    ModelError
        A model cannot be read or run, or their interfaces differ.
    DataError, ConfigError
        The data are wrong.
    """
    model = load_protected_model(first)
    names = _shared_outputs(model, load_protected_model(second))
    totals = [_Totals(name) for name in names]
    used = 0
    with Isolated() as isolated:
        a, b = (isolated.session(_loadable(source), names) for source in (first, second))
        for feeds in samples_to_compare(model, a, data, count):
            for total, expected, found in zip(totals, a.run(feeds), b.run(feeds), strict=True):
                total.add(expected, found)
            used += 1
        rated = None if metric is None else (measured(metric, a), measured(metric, b))
    if used == 0:
        raise DataError("there is no sample", where=str(data), hint="give files or a folder with --data")
    return ModelComparison(used, tuple(total.result() for total in totals), rated)


def _loadable(source: ModelSource) -> Path | bytes:
    return source if isinstance(source, Path) else source.SerializeToString()


@dataclass
class _Totals:
    """Sums of one output over the samples."""

    name: str
    sums: kernels.ErrorMetrics = field(default_factory=kernels.ErrorMetrics)
    floating: bool = True
    classes: bool = True
    same: int = 0
    elements: int = 0
    agreed: int = 0
    rows: int = 0

    def add(self, expected: Array, found: Array) -> None:
        if expected.shape != found.shape:
            raise ModelError(
                f"has shape {expected.shape} in one model and {found.shape} in the other",
                where=self.name,
                hint=COMPARABLE,
            )
        self.floating = self.floating and expected.dtype.kind == "f" and found.dtype.kind == "f"
        self.classes = self.classes and expected.ndim == 2 and expected.shape[1] > 1
        self.same += int((expected == found).sum())
        self.elements += expected.size
        if self.floating:
            self.sums.update(expected, found)
        if self.classes:
            self.agreed += int((expected.argmax(axis=1) == found.argmax(axis=1)).sum())
            self.rows += len(expected)

    def result(self) -> OutputPair:
        sums = self.sums if self.floating else None
        return OutputPair(
            name=self.name,
            sqnr_db=sums.sqnr_db if sums else None,
            cosine=sums.cosine if sums else None,
            mse=sums.mse if sums else None,
            max_abs_error=sums.max_abs_error if sums else None,
            top1_agreement=self.agreed / self.rows if self.classes and self.rows else None,
            equal=self.same / self.elements if self.elements else 1.0,
        )


def _shared_outputs(first: ir.Model, second: ir.Model) -> list[str]:
    """Return the names of the outputs that both models have; refuse models with different inputs."""
    names = [[spec.name for spec in input_specs(model, texts=True)] for model in (first, second)]
    if sorted(names[0]) != sorted(names[1]):
        raise ModelError(
            f"the models have different inputs: {', '.join(names[0])} and {', '.join(names[1])}",
            hint=COMPARABLE,
        )
    others = {value.name for value in second.graph.outputs}
    shared = [value.name for value in first.graph.outputs if value.name and value.name in others]
    if not shared:
        raise ModelError("the models have no output in common", hint=COMPARABLE)
    return shared


def _table(outputs: Sequence[OutputPair]) -> Iterator[str]:
    rows = [HEADS, *(_row(output) for output in outputs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    for name, *cells in rows:
        rest = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        yield f"{name:<{widths[0]}}  {rest}"


def _row(output: OutputPair) -> tuple[str, ...]:
    return (
        output.name,
        _format(output.sqnr_db, ".2f"),
        _format(output.cosine, ".5f"),
        _format(output.mse, ".4g"),
        _format(output.max_abs_error, ".4g"),
        _format(output.top1_agreement, ".1%"),
        _format(output.equal, ".1%"),
    )


def _format(value: float | None, form: str) -> str:
    return "-" if value is None else "exact" if math.isinf(value) else format(value, form)


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
