"""Two models on the same samples, output by output: what ``xslim compare`` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim import kernels
from xslim.calibration.arrays import check_convertible
from xslim.calibration.data import CalibrationData
from xslim.calibration.lists import read_list
from xslim.commands.init import FILE_TYPES, guess_entries
from xslim.config import CalibrationParameters, load_config
from xslim.errors import DataError, ModelError
from xslim.files import refuse_inputs, require_content, scratch_folder
from xslim.graph.inputs import InputSpec, input_specs
from xslim.pipeline.inputs import calibration_files, load_protected_model
from xslim.runtime import Feeds, Isolated, Runs, random_feeds

Array = NDArray[np.generic]

COMPARABLE = "compare a model with what was made from it"


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


def compare_models(first: Path, second: Path, data: Path | None, count: int) -> tuple[int, list[OutputPair]]:
    """Run two models on the same samples.

    Parameters
    ----------
    first, second : Path
        The models; the first is the reference. Inputs and outputs have the same names.
    data : Path, optional
        A configuration (its calibration data), a list file, a folder, or an ``.npz`` with one array per
        input whose first axis counts the samples. Without it, one random input.
    count : int
        At most that many samples.

    Returns
    -------
    samples : int
        How many were used.
    outputs : list of OutputPair

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
        a, b = isolated.session(first, names), isolated.session(second, names)
        for feeds in _samples(model, a, data, count):
            for total, expected, found in zip(totals, a.run(feeds), b.run(feeds), strict=True):
                total.add(expected, found)
            used += 1
    if used == 0:
        raise DataError("there is no sample", where=str(data), hint="give files or a folder with --data")
    return used, [total.result() for total in totals]


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
    """Names of the outputs of both; the inputs must be the same."""
    names = [[spec.name for spec in input_specs(model)] for model in (first, second)]
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


def _samples(model: ir.Model, session: Runs, data: Path | None, count: int) -> Iterator[Feeds]:
    if data is None:
        yield _random_sample(model, session)
    elif data.suffix == ".npz":
        yield from islice(_rows(input_specs(model), data), count)
    elif data.suffix == ".json":
        config = load_config(data)
        refuse_inputs([], calibration_files(config))
        calibration = CalibrationData(input_specs(model), config.calibration_parameters, config.base_dir)
        yield from islice(calibration.batches(1), count)
    else:
        with _guessed(model, data) as parameters:
            yield from islice(CalibrationData(input_specs(model), parameters).batches(1), count)


def _random_sample(model: ir.Model, session: Runs) -> Feeds:
    refusal = ""
    for feeds in random_feeds(model):
        try:
            session.run(feeds)
        except ModelError as error:
            refusal = error.what
        else:
            return feeds
    raise ModelError(f"the model takes no random input: {refusal}", hint="give --data")


def _rows(specs: Sequence[InputSpec], path: Path) -> Iterator[Feeds]:
    arrays = _arrays(specs, path)
    missing = [spec.name for spec in specs if spec.name not in arrays]
    if missing:
        raise DataError(
            f"holds no array for the input {missing[0]}",
            where=str(path),
            hint="name its arrays like the model's inputs",
        )
    for spec in specs:
        check_convertible(arrays[spec.name].dtype, spec.dtype, f"{path}, array {spec.name}")
    columns = {spec.name: arrays[spec.name].astype(spec.dtype) for spec in specs}
    counts = [len(column) for column in columns.values() if column.ndim]
    for index in range(min(counts, default=1)):
        yield {spec.name: _row(columns[spec.name], spec, index) for spec in specs}


def _arrays(specs: Sequence[InputSpec], path: Path) -> dict[str, Array]:
    """Read what a file holds for the inputs."""
    try:
        require_content(path)
        with np.load(path, allow_pickle=False) as file:
            return {spec.name: file[spec.name] for spec in specs if spec.name in file}
    # zip and numpy fail in many ways where a file is not what it seems.
    except Exception as error:
        raise DataError(f"cannot read: {error}", where=str(path), hint="numpy.savez writes it") from error


def _row(column: Array, spec: InputSpec, index: int) -> Array:
    """One sample: a single number serves all, and an input without dimensions takes one number of many."""
    if column.ndim == 0:
        return column if spec.shape == () else column.reshape((1,) * len(spec.shape or (1,)))
    return np.asarray(column[index]) if spec.shape == () else column[index : index + 1]


@contextmanager
def _guessed(model: ir.Model, data: Path) -> Iterator[CalibrationParameters]:
    """Calibration parameters for a folder or a list file, as ``xslim init`` would guess them."""
    with scratch_folder() as folder:
        if data.is_dir():
            entries, files = guess_entries(model, [str(data)])
        else:
            specs = input_specs(model)
            if len(specs) != 1:
                raise DataError(
                    f"a list feeds one input, but the model has {len(specs)}",
                    where=str(data),
                    hint="give the configuration or an .npz file",
                )
            files = {specs[0].name: [entry.path for entry in read_list(str(data), None)]}
            entries, _ = guess_entries(model, [])
        for index, entry in enumerate(entries):
            paths = files.get(entry["input_name"], [])
            listing = folder / f"{index}.txt"
            listing.write_text("".join(f"{path}\n" for path in paths), "utf-8")
            entry |= _file_type(entry, paths) | {"data_list_path": str(listing)}
        yield CalibrationParameters.model_validate({"input_parameters": entries})


def _file_type(entry: dict[str, Any], paths: Sequence[Path]) -> dict[str, Any]:
    kind = FILE_TYPES.get(paths[0].suffix.lower()) if paths else None
    return {"file_type": kind} if kind is not None and kind != entry.get("file_type") else {}
