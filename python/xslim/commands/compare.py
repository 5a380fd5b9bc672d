"""``xslim compare``: the outputs of two models side by side."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim import kernels
from xslim.commands.compared_samples import samples_to_compare
from xslim.commands.metric import Metric, load_metric, measured
from xslim.commands.text import say, say_json
from xslim.config import CalibrationParameters
from xslim.errors import ConfigError, DataError, ModelError
from xslim.export.epilogue import LARGEST, SWITCH, Epilogues, with_fp16_epilogues
from xslim.graph.inputs import input_specs
from xslim.pipeline.paths import ModelSource
from xslim.pipeline.protect import load_protected_model
from xslim.runtime import Feeds, Isolated

logger = logging.getLogger(__name__)

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


def run(
    first: str,
    second: str,
    data: str | None,
    samples: int,
    simulate: str | None,
    metric: str | None,
    fail_below: float | None,
    as_json: bool,
) -> int:
    """Print one row per output; return 1 if an output is below the wanted SQNR."""
    if samples < 1:
        raise ConfigError("must be at least 1", where="--samples")
    place = Path(data) if data else None
    rating = None if metric is None else load_metric(metric)
    found = compare_models(Path(first), Path(second), place, samples, rating, simulated=simulate is not None)
    if as_json:
        say_json(found.as_json())
    else:
        say(*_table(found.outputs))
        say(*_simulation(found))
        if found.metric is not None:
            say(f"metric: {found.metric[0]:.6g} and {found.metric[1]:.6g}")
        say(
            f"{found.samples} sample{'s' if found.samples > 1 else ''}{'' if place else ' of random numbers'}"
        )
    return int(fail_below is not None and _is_below(found, fail_below))


def _is_below(found: ModelComparison, least_db: float) -> bool:
    below = [row for row in found.outputs if row.sqnr_db is not None and not row.sqnr_db >= least_db]
    for row in below:
        logger.warning("output %s is at %.2f dB, below the wanted %g dB", row.name, row.sqnr_db, least_db)
    return bool(below)


def _simulation(found: ModelComparison) -> Iterator[str]:
    if found.simulated is None:
        return
    yield "with the float16 epilogue of the provider (a model of the chip, not a measurement)"
    yield from _table(found.simulated)
    for name in found.overflows:
        yield f"{name} exceeds {LARGEST:,.0f}, the largest float16: set {SWITCH} on the board"


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
    simulated : tuple of OutputPair, or None
        The rows for the second model with the float16 epilogue of the provider, if that was asked for.
    overflows : tuple of str
        Operators whose scaled sums exceed the largest float16 there.
    """

    samples: int
    outputs: tuple[OutputPair, ...]
    metric: tuple[float, float] | None = None
    simulated: tuple[OutputPair, ...] | None = None
    overflows: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """Return plain data for JSON; what is not finite is null."""
        found: dict[str, object] = {"samples": self.samples, "outputs": _plain_rows(self.outputs)}
        if self.metric is not None:
            found["metric"] = [_finite(value) for value in self.metric]
        if self.simulated is not None:
            found |= {"simulated": _plain_rows(self.simulated), "overflows": list(self.overflows)}
        return found


def _plain_rows(outputs: Sequence[OutputPair]) -> list[dict[str, object]]:
    return [{key: _finite(value) for key, value in asdict(output).items()} for output in outputs]


def compare_models(
    first: ModelSource,
    second: ModelSource,
    data: Path | CalibrationParameters | None,
    count: int,
    metric: Metric | None = None,
    *,
    simulated: bool = False,
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
    simulated : bool
        Whether the second model also runs with the float16 epilogue of the provider. Q/DQ pairs are then
        executed as written.

    Raises
    ------
    ModelError
        A model cannot be read or run, or their interfaces differ.
    DataError, ConfigError
        The data are wrong.
    """
    model, other = load_protected_model(first), load_protected_model(second)
    names = _shared_outputs(model, other)
    totals = [_Totals(name) for name in names]
    used, chip = 0, None
    with Isolated() as isolated:
        a = isolated.session(_loadable(first), names)
        b = isolated.session(_loadable(second), names, qdq_as_written=simulated)
        if simulated:
            chip = _Chip(with_fp16_epilogues(other), names, isolated)
        for feeds in samples_to_compare(model, a, data, count):
            reference = a.run(feeds)
            for total, expected, found in zip(totals, reference, b.run(feeds), strict=True):
                total.add(expected, found)
            if chip is not None:
                chip.add(feeds, reference)
            used += 1
        rated = None if metric is None else (measured(metric, a), measured(metric, b))
    if used == 0:
        raise DataError("there is no sample", where=str(data), hint="give files or a folder with --data")
    rows = tuple(total.result() for total in totals)
    if chip is None:
        return ModelComparison(used, rows, rated)
    simulation = tuple(total.result() for total in chip.totals)
    return ModelComparison(used, rows, rated, simulation, tuple(sorted(chip.overflows)))


def _loadable(source: ModelSource) -> Path | bytes:
    return source if isinstance(source, Path) else source.SerializeToString()


class _Chip:
    """The second model as the provider computes it, with its errors."""

    def __init__(self, epilogues: Epilogues, names: Sequence[str], isolated: Isolated) -> None:
        self.totals = [_Totals(name) for name in names]
        self.overflows: set[str] = set()
        self._operators = list(epilogues.peaks.values())
        outputs = [*names, *epilogues.peaks]
        self._session = isolated.session(epilogues.model, outputs, qdq_as_written=True)

    def add(self, feeds: Feeds, reference: Sequence[Array]) -> None:
        found = self._session.run(feeds)
        outputs, peaks = found[: len(self.totals)], found[len(self.totals) :]
        for total, expected, output in zip(self.totals, reference, outputs, strict=True):
            total.add(expected, output)
        large = zip(self._operators, peaks, strict=True)
        self.overflows.update(name for name, peak in large if not float(peak) <= LARGEST)


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
