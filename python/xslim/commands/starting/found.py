"""The calibration files that ``--data`` of ``xslim init`` names, for each input of the model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xslim.calibration.lists import read_list
from xslim.commands.starting.guesses import FILE_TYPES, files_in, plain_name, single_kind
from xslim.errors import DataError
from xslim.files import require_content
from xslim.graph.inputs import InputSpec

Array = NDArray[Any]

KINDS = {**FILE_TYPES, ".wav": "wav"}
MOST_ARRAYS = 108
"""Samples taken out of an .npz file: those of ``calibration_step`` and those of the comparison at the end."""
KNOWN = "a folder, a list of files (.txt), arrays (.npz), or INPUT= and one of these"


@dataclass(frozen=True)
class Found:
    """The calibration files of one input.

    Attributes
    ----------
    kind : str
        img, npy, raw or wav.
    files : sequence of Path
        Absolute paths.
    arrays : dict of Path to array
        The content of those files that are still to be written.
    reason : str
        Why these files, where the user has not named them.
    """

    kind: str
    files: Sequence[Path]
    arrays: Mapping[Path, Array] = field(default_factory=dict)
    reason: str = ""


def made(arrays: Sequence[Array], folder: Path, reason: str = "") -> Found:
    """Return arrays as files of a folder that are still to be written."""
    content = {folder / f"{index:04d}.npy": array for index, array in enumerate(arrays)}
    return Found("npy", list(content), content, reason)


def find_data(
    specs: Sequence[InputSpec], main: Sequence[str], data: Sequence[str], room: Path
) -> dict[str, Found]:
    """Find the files of the inputs.

    Parameters
    ----------
    specs : sequence of InputSpec
        The model's inputs.
    main : sequence of str
        The inputs that need data: all but states, rates and masks. If there is one, it takes a bare folder.
    data : sequence of str
        What ``--data`` says.
    room : Path
        Folder for arrays that are taken out of .npz files.

    Raises
    ------
    DataError
        Something is missing, or it is not clear which input it feeds.
    """
    found: dict[str, Found] = {}
    by_name = {spec.name: spec for spec in specs}
    for text in data:
        name, separator, rest = text.partition("=")
        if separator and name in by_name:
            found[name] = _of_one(by_name[name], Path(rest), room)
            continue
        path = Path(text)
        found |= _of_archives(specs, path, room) or _of_folders(specs, path, room) or _of_main(
            by_name, main, path, room
        )  # fmt: skip
    return found


def _of_main(
    by_name: Mapping[str, InputSpec], main: Sequence[str], path: Path, room: Path
) -> dict[str, Found]:
    if len(main) != 1:
        raise DataError(
            f"the model has {len(main) or len(by_name)} inputs that need data: {', '.join(main or by_name)}",
            where=str(path),
            hint="make a folder named like each inside, or give --data INPUT=PATH for each",
        )
    return {main[0]: _of_one(by_name[main[0]], path, room)}


def _of_folders(specs: Sequence[InputSpec], root: Path, room: Path) -> dict[str, Found]:
    """Return the files of the sub-folders that are named like inputs."""
    inside = {spec: root / plain_name(spec.name) for spec in specs}
    return {spec.name: _of_one(spec, path, room) for spec, path in inside.items() if path.is_dir()}


def _of_one(spec: InputSpec, path: Path, room: Path) -> Found:
    if archives := _of_archives([spec], path, room):
        return archives[spec.name]
    if path.suffix.lower() == ".npy" and path.is_file():
        return made(_rows(_array(path), spec), room / plain_name(spec.name))
    if path.is_file():
        files = [entry.path.absolute() for entry in read_list(str(path), None)]
        kind = single_kind(files, KINDS, path)
        return Found(kind or "raw", files)
    files = _raw_of_other_names(spec, path)
    if files:
        return Found("raw", files)
    files = files_in(path, KINDS, KNOWN, others=[".npz"])
    return Found(KINDS[files[0].suffix.lower()], files)


def _raw_of_other_names(spec: InputSpec, folder: Path) -> list[Path]:
    """Return files whose names tell nothing, if each has the size of the input."""
    if spec.shape is None or None in spec.shape[1:]:
        return []
    size = math.prod(length or 1 for length in spec.shape) * spec.dtype.itemsize
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    if any(path.suffix.lower() in KINDS or path.stat().st_size != size for path in files):
        return []
    return [path.absolute() for path in files]


def _of_archives(specs: Sequence[InputSpec], path: Path, room: Path) -> dict[str, Found]:
    """Return the arrays of an .npz file with all samples, or of a folder with an .npz file for each."""
    if path.suffix == ".npz":
        content = _archive(path)
        columns = {spec.name: _rows(content[spec.name], spec) for spec in specs if spec.name in content}
        _require_names(columns, specs, path, content)
    else:
        files = sorted(path.glob("*.npz"))[:MOST_ARRAYS]
        if not files:
            return {}
        samples = [_archive(file) for file in files]
        columns = {
            spec.name: [sample[spec.name] for sample in samples]
            for spec in specs
            if all(spec.name in sample for sample in samples)
        }
        _require_names(columns, specs, path, samples[0])
    return {name: made(column, room / plain_name(name)) for name, column in columns.items()}


def _require_names(
    columns: Mapping[str, Sequence[Array]], specs: Sequence[InputSpec], path: Path, names: Mapping[str, Array]
) -> None:
    if not columns:
        raise DataError(
            f"holds {', '.join(names) or 'nothing'}, but the model's inputs are "
            f"{', '.join(spec.name for spec in specs)}",
            where=str(path),
            hint="name its arrays like the model's inputs",
        )


def _archive(path: Path) -> dict[str, Array]:
    try:
        require_content(path)
        with np.load(path, allow_pickle=False) as file:
            return dict(_arrays_of(file))
    # zipfile and numpy raise many kinds of exceptions for a damaged file.
    except Exception as error:
        raise DataError(f"cannot read: {error}", where=str(path), hint="numpy.savez writes it") from error


def _arrays_of(file: Any) -> Iterator[tuple[str, Array]]:
    """Yield the arrays of an .npz file; those of Python objects, which no input takes, are left out."""
    for name in file.files:
        try:
            yield name, file[name]
        except ValueError as error:
            if "pickle" not in str(error):
                raise


def _array(path: Path) -> Array:
    try:
        require_content(path)
        return np.asarray(np.load(path, allow_pickle=False))
    except Exception as error:
        raise DataError(f"cannot read: {error}", where=str(path), hint="numpy.save writes it") from error


def _rows(array: Array, spec: InputSpec) -> list[Array]:
    """Return the samples of an array: along its first dimension, if it is not what the input takes itself."""
    rank = None if spec.shape is None else len(spec.shape)
    if array.ndim == 0 or (rank is not None and array.ndim < rank):
        return [array]
    if rank == array.ndim and rank:
        whole = spec.shape is not None and spec.shape[0] == len(array)
        return (
            [array] if whole else [array[index : index + 1] for index in range(min(len(array), MOST_ARRAYS))]
        )
    return list(array[:MOST_ARRAYS])
