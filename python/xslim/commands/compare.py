"""``xslim compare``: the outputs of two models side by side."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.commands.accuracy import Accuracy, Answers
from xslim.commands.boxes import check_layout
from xslim.commands.compared_outputs import COMPARABLE, OutputPair, Totals, finite, table
from xslim.commands.compared_samples import samples_to_compare
from xslim.commands.detections import Detections, Detector
from xslim.commands.labelled_samples import labelled_samples
from xslim.commands.labels import Labels, read_labels
from xslim.commands.metric import Metric, load_metric, measured
from xslim.commands.text import counted, say, say_json
from xslim.config import CalibrationParameters
from xslim.errors import ConfigError, DataError, ModelError
from xslim.export.epilogue import LARGEST, SWITCH, Epilogues, with_fp16_epilogues
from xslim.graph.inputs import input_specs
from xslim.pipeline.paths import ModelSource
from xslim.pipeline.protect import load_protected_model
from xslim.runtime import Feeds, Isolated, Runs

logger = logging.getLogger(__name__)

USUAL_COUNT = 16
"""Largest number of samples without labels, unless another one is given."""

Array = NDArray[np.generic]


def run(
    first: str,
    second: str,
    data: str | None,
    samples: int | None,
    simulate: str | None,
    metric: str | None,
    labels: str | None,
    boxes: str | None,
    fail_below: float | None,
    fail_under: float | None,
    as_json: bool,
) -> int:
    """Print one row per output; return 1 if an output or the rating of the second model is below a limit."""
    if samples is not None and samples < 1:
        raise ConfigError("must be at least 1", where="--samples")
    _check_limit(fail_under, metric, labels, boxes)
    place = Path(data) if data else None
    rating = None if metric is None else load_metric(metric)
    classes = None if labels is None else read_labels(labels)
    found = compare_models(
        Path(first),
        Path(second),
        place,
        samples,
        rating,
        labels=classes,
        boxes=boxes,
        simulated=simulate is not None,
    )
    if as_json:
        say_json(found.as_json())
    else:
        say(*table(found.outputs))
        say(*_simulation(found))
        if found.metric is not None:
            say(f"metric: {found.metric[0]:.6g} and {found.metric[1]:.6g}")
        if found.accuracy is not None:
            say(*found.accuracy.lines())
        if found.detections is not None:
            say(*found.detections.lines())
        random = " of random numbers" if place is None and classes is None else ""
        say(f"{counted(found.samples, 'sample')}{random}")
    below = fail_below is not None and _is_below(found, fail_below)
    return int(below or (fail_under is not None and _is_under(found, fail_under)))


def _check_limit(fail_under: float | None, metric: str | None, labels: str | None, boxes: str | None) -> None:
    if fail_under is None:
        return
    if metric is None and labels is None and boxes is None:
        raise ConfigError(
            "limits --metric, --labels or --boxes, and none is given",
            where="--fail-under",
            hint="--fail-below limits the SQNR",
        )
    if metric is None and not 0 <= fail_under <= 1:
        raise ConfigError(
            f"is {fail_under:g}, but a top-1 accuracy or an F1 is from 0 to 1",
            where="--fail-under",
            hint="0.75 stands for 75 %",
        )


def _is_under(found: ModelComparison, least: float) -> bool:
    if found.metric is not None:
        what, value = "the metric", found.metric[1]
    elif found.accuracy is not None:
        what, value = "the top-1 accuracy", found.accuracy.top1[1].value
    else:
        assert found.detections is not None
        what, value = "the F1 of the boxes", found.detections.f1
    if value >= least:
        return False
    logger.warning("%s of the second model is %.6g, below the wanted %g", what, value, least)
    return True


def _is_below(found: ModelComparison, least_db: float) -> bool:
    below = [row for row in found.outputs if row.sqnr_db is not None and not row.sqnr_db >= least_db]
    for row in below:
        logger.warning("output %s is at %.2f dB, below the wanted %g dB", row.name, row.sqnr_db, least_db)
    unknown = [row for row in found.outputs if row.left_out == found.samples]
    for row in unknown:
        logger.warning("output %s could not be compared on any sample", row.name)
    return bool(below or unknown)


def _simulation(found: ModelComparison) -> Iterator[str]:
    if found.simulated is None:
        return
    yield "with the float16 epilogue of the provider (a model of the chip, not a measurement)"
    yield from table(found.simulated)
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
    accuracy : Accuracy, or None
        Top-1 and top-5 of both models, if labels were given.
    detections : Detections, or None
        The boxes of the second model against those of the first, if boxes were asked for.
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
    accuracy: Accuracy | None = None
    detections: Detections | None = None

    def as_json(self) -> dict[str, object]:
        """Return plain data for JSON; what is not finite is null."""
        found: dict[str, object] = {"samples": self.samples, "outputs": _plain_rows(self.outputs)}
        if self.metric is not None:
            found["metric"] = [finite(value) for value in self.metric]
        if self.accuracy is not None:
            found["accuracy"] = self.accuracy.as_json()
        if self.detections is not None:
            found["boxes"] = self.detections.as_json()
        if self.simulated is not None:
            found |= {"simulated": _plain_rows(self.simulated), "overflows": list(self.overflows)}
        return found


def _plain_rows(outputs: Sequence[OutputPair]) -> list[dict[str, object]]:
    return [{key: finite(value) for key, value in asdict(output).items()} for output in outputs]


def compare_models(
    first: ModelSource,
    second: ModelSource,
    data: Path | CalibrationParameters | None,
    count: int | None,
    metric: Metric | None = None,
    *,
    labels: Labels | None = None,
    boxes: str | None = None,
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
    count : int, optional
        Largest number of samples; by default all that have labels, or 16 without labels.
    metric : callable, optional
        Rates both models: it is called with a function that runs one, and returns a number.
    labels : Labels, optional
        The classes of the samples, for the accuracy of both models.
    boxes : str, optional
        Layout of a detector's head, or ``auto``, for the F1 of the boxes of the second model.
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
    if boxes is not None:
        check_layout(boxes)
    model, other = load_protected_model(first), load_protected_model(second)
    names = _shared_outputs(model, other)
    totals = [Totals(name) for name in names]
    used, chip = 0, None
    answers = None if labels is None else Answers(labels, names)
    detector = None if boxes is None else Detector(boxes, names)
    with Isolated() as isolated:
        a = isolated.session(_loadable(first), names)
        b = isolated.session(_loadable(second), names, qdq_as_written=simulated)
        if simulated:
            chip = _Chip(with_fp16_epilogues(other), names, isolated)
        for feeds, numbers in _samples(model, a, data, count, labels):
            reference, outputs = a.run(feeds), b.run(feeds)
            for total, expected, found in zip(totals, reference, outputs, strict=True):
                total.add(expected, found)
            if answers is not None:
                answers.add(numbers, reference, outputs)
            if detector is not None:
                detector.add(feeds, reference, outputs)
            if chip is not None:
                chip.add(feeds, reference)
            used += 1
        rated = None if metric is None else (measured(metric, a), measured(metric, b))
    if used == 0:
        raise DataError("there is no sample", where=str(data), hint="give files or a folder with --data")
    return ModelComparison(
        samples=used,
        outputs=tuple(total.result() for total in totals),
        metric=rated,
        simulated=None if chip is None else tuple(total.result() for total in chip.totals),
        overflows=() if chip is None else tuple(sorted(chip.overflows)),
        accuracy=None if answers is None else answers.result(limited=count is not None),
        detections=None if detector is None else detector.result(),
    )


def _samples(
    model: ir.Model,
    session: Runs,
    data: Path | CalibrationParameters | None,
    count: int | None,
    labels: Labels | None,
) -> Iterator[tuple[Feeds, tuple[int, ...] | None]]:
    """Yield the samples with their classes, which are None without labels or before the outputs are known."""
    if labels is not None:
        return labelled_samples(model, session, data, count, labels)
    found = samples_to_compare(model, session, data, USUAL_COUNT if count is None else count)
    return ((feeds, None) for feeds in found)


def _loadable(source: ModelSource) -> Path | bytes:
    return source if isinstance(source, Path) else source.SerializeToString()


class _Chip:
    """The second model as the provider computes it, with its errors."""

    def __init__(self, epilogues: Epilogues, names: Sequence[str], isolated: Isolated) -> None:
        self.totals = [Totals(name) for name in names]
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


def _shared_outputs(first: ir.Model, second: ir.Model) -> list[str]:
    """Return the names of the outputs that both models have; refuse other inputs and other shapes."""
    names = [[spec.name for spec in input_specs(model, texts=True)] for model in (first, second)]
    if sorted(names[0]) != sorted(names[1]):
        raise ModelError(
            f"the models have different inputs: {', '.join(names[0])} and {', '.join(names[1])}",
            hint=COMPARABLE,
        )
    others = {value.name: value for value in second.graph.outputs}
    shared = [(value, others[value.name]) for value in first.graph.outputs if value.name in others]
    if not shared:
        raise ModelError("the models have no output in common", hint=COMPARABLE)
    for value, other in shared:
        if _never_alike(value.shape, other.shape):
            raise ModelError(
                f"has shape {value.shape} in one model and {other.shape} in the other",
                where=value.name,
                hint=COMPARABLE,
            )
    return [value.name or "" for value, _ in shared]


def _never_alike(first: ir.Shape | None, second: ir.Shape | None) -> bool:
    """Whether two shapes differ whatever the values are."""
    if first is None or second is None:
        return False
    pairs = zip(first, second, strict=False)
    return len(first) != len(second) or any(
        isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs
    )
