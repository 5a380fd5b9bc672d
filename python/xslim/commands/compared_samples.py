"""The samples of ``xslim compare``: of a configuration, a list file, a folder, an ``.npz``, or random."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.calibration.arrays import check_convertible
from xslim.calibration.data import CalibrationData
from xslim.calibration.lists import read_list
from xslim.commands.starting.guesses import FILE_TYPES, guess_entries
from xslim.config import CalibrationParameters, load_config
from xslim.errors import DataError, ModelError
from xslim.files import refuse_inputs, require_content, scratch_folder
from xslim.graph.inputs import InputSpec, input_specs
from xslim.pipeline.protect import calibration_files
from xslim.runtime import Feeds, Runs, random_feeds

Array = NDArray[np.generic]


def samples_to_compare(
    model: ir.Model, session: Runs, data: Path | CalibrationParameters | None, count: int
) -> Iterator[Feeds]:
    """Yield at most `count` samples of the data that ``--data`` names, or one random sample without data."""
    if data is None:
        yield _random_sample(model, session)
    elif isinstance(data, CalibrationParameters):
        yield from islice(CalibrationData(input_specs(model), up_to(data, count)).batches(1), count)
    elif data.suffix == ".npz":
        yield from islice(_rows(input_specs(model), data), count)
    elif data.suffix == ".json":
        config = load_config(data)
        refuse_inputs([], calibration_files(config))
        parameters = up_to(config.calibration_parameters, count)
        yield from islice(CalibrationData(input_specs(model), parameters, config.base_dir).batches(1), count)
    else:
        with guessed(model, data) as parameters:
            calibration = CalibrationData(input_specs(model), up_to(parameters, count))
            yield from islice(calibration.batches(1), count)


def up_to(parameters: CalibrationParameters, count: int) -> CalibrationParameters:
    """Return parameters whose ``calibration_step`` allows for `count` samples."""
    step = max(parameters.calibration_step, count)
    return parameters.model_copy(update={"calibration_step": step})


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
    """Read the arrays of the inputs from a file."""
    try:
        require_content(path)
        with np.load(path, allow_pickle=False) as file:
            return {spec.name: file[spec.name] for spec in specs if spec.name in file}
    # zipfile and numpy raise many kinds of exceptions for a damaged file.
    except Exception as error:
        raise DataError(f"cannot read: {error}", where=str(path), hint="numpy.savez writes it") from error


def _row(column: Array, spec: InputSpec, index: int) -> Array:
    """Return sample number `index` of an array; an array of one number is used for every sample."""
    if column.ndim == 0:
        return column if spec.shape == () else column.reshape((1,) * len(spec.shape or (1,)))
    return np.asarray(column[index]) if spec.shape == () else column[index : index + 1]


@contextmanager
def guessed(model: ir.Model, data: Path | Sequence[Path]) -> Iterator[CalibrationParameters]:
    """Calibration parameters for a folder, a list file or files, as ``xslim init`` would guess them."""
    with scratch_folder() as folder:
        if isinstance(data, Path) and data.is_dir():
            entries, files = guess_entries(model, [str(data)])
        else:
            specs = input_specs(model)
            if len(specs) != 1:
                raise DataError(
                    f"a list feeds one input, but the model has {len(specs)}",
                    where=str(data) if isinstance(data, Path) else None,
                    hint="give the configuration or an .npz file",
                )
            listed = [entry.path for entry in read_list(str(data), None)] if isinstance(data, Path) else data
            files = {specs[0].name: list(listed)}
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
