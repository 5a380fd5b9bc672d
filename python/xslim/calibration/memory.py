"""Samples from memory: check them one by one and write them to files, which calibration then reads.

Calibration needs several passes over the samples, in an order of its own. A generator can be read only once,
and its samples may not fit into memory, so every sample is written to a temporary folder.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from xslim.calibration.arrays import Array, NoArrayError, as_array, converted, is_float
from xslim.calibration.geometry import show_shape
from xslim.calibration.sources import fits
from xslim.errors import DataError
from xslim.graph.inputs import InputSpec

logger = logging.getLogger(__name__)

Sample = dict[str, Array]
FORMS = (
    "give a dict of arrays with a leading sample axis, an iterable of samples, or a function that returns one"
)


def write_samples(data: object, specs: Sequence[InputSpec], limit: int, folder: Path) -> dict[str, Path]:
    """Write samples to files.

    Parameters
    ----------
    data : object
        A dict of arrays with a leading sample axis; one array for a model of one input; an iterable of
        samples, each a dict by input name, a tuple or list in the order of the inputs, or one array; an
        object with ``get_next`` as onnxruntime's ``CalibrationDataReader``; or a function that returns one
        of these.
    specs : sequence of InputSpec
        The inputs of the model.
    limit : int
        Number of samples for calibration. A few more are written for the comparison at the end of a run; the
        rest of the data is not read.
    folder : Path
        An empty folder.

    Returns
    -------
    dict of str to Path
        The list of the files of every input, by its name.

    Raises
    ------
    DataError
        The data have another form, or a sample does not suit the model; the error names its number, from 0.
    """
    folders = {spec.name: folder / str(number) for number, spec in enumerate(specs)}
    for place in folders.values():
        place.mkdir()
    count = 0
    for count, row in enumerate(islice(_rows(data, specs), limit), start=1):
        for name, array in row.items():
            _write(folders[name] / f"{count:08d}.npy", array)
    if count == 0:
        raise DataError(
            "there is no sample",
            where="data",
            hint="a generator can be read only once: give a function that makes it",
        )
    lists = {}
    for name, place in folders.items():
        lists[name] = place / "list.txt"
        lists[name].write_text("".join(f"{number:08d}.npy\n" for number in range(1, count + 1)), "utf-8")
    return lists


def _write(path: Path, array: Array) -> None:
    # numpy cannot write the types of ml_dtypes, such as bfloat16.
    written = array.astype(np.float32) if array.dtype.kind == "V" else array
    try:
        np.save(path, written, allow_pickle=False)
    except OSError as error:
        raise DataError(
            f"cannot write a sample to the temporary folder: {error.strerror}",
            where=str(path.parent.parent),
            hint="spool= names a folder with more space",
        ) from error


def _rows(data: object, specs: Sequence[InputSpec]) -> Iterator[Sample]:
    """Yield checked samples; the rows of a batch apart, unless the batch fills the model's."""
    notices: set[str] = set()
    batches = _Batches(specs)
    for number, value in enumerate(_samples(data, specs)):
        where = f"sample {number}"
        named = _named(value, specs, where)
        arrays = {
            spec.name: _checked(named[spec.name], spec, f"{where}, input {spec.name}", batches, notices)
            for spec in specs
        }
        yield from batches.rows(arrays, where)


def _samples(data: object, specs: Sequence[InputSpec]) -> Iterator[object]:
    if data is None or isinstance(data, (str, bytes, Path)):
        raise DataError(
            f"must hold samples, not {type(data).__name__}",
            where="data",
            hint=f"{FORMS}; files are named in a configuration",
        )
    if isinstance(data, Mapping):
        yield from _of_columns(data, specs)
    elif callable(getattr(data, "get_next", None)):
        while (sample := _guarded(data.get_next)) is not None:  # type: ignore[attr-defined]
            yield sample
    elif not isinstance(data, (list, tuple)) and _is_array(data):
        yield from _of_columns({_only_input(specs, "data"): data}, specs)
    elif callable(data) and not hasattr(data, "__iter__"):
        made = _guarded(data)
        if callable(made) and not hasattr(made, "__iter__"):
            raise DataError("the function returned a function", where="data", hint=FORMS)
        yield from _samples(made, specs)
    else:
        yield from _iterated(data)


def _iterated(data: object) -> Iterator[object]:
    try:
        iterator = iter(data)  # type: ignore[call-overload]
    except TypeError:
        raise DataError(f"a {type(data).__name__} holds no samples", where="data", hint=FORMS) from None
    number = 0
    while True:
        try:
            sample = next(iterator)
        except StopIteration:
            return
        except (Exception, SystemExit) as error:
            raise _failure(error, f"sample {number}") from error
        yield sample
        number += 1


def _guarded(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise _failure(error, "data") from error


def _failure(error: Exception | SystemExit, where: str) -> DataError:
    return DataError(
        f"the data raised {type(error).__name__}: {error}",
        where=where,
        hint="the error is in the data source",
    )


def _is_array(value: object) -> bool:
    return hasattr(value, "__array__") or hasattr(value, "__dlpack__")


def _only_input(specs: Sequence[InputSpec], where: str) -> str:
    if len(specs) != 1:
        names = ", ".join(spec.name for spec in specs)
        raise DataError(
            f"is one array, but the model has {len(specs)} inputs: {names}",
            where=where,
            hint="give a dict with an array for every input",
        )
    return specs[0].name


def _of_columns(columns: Mapping[Any, object], specs: Sequence[InputSpec]) -> Iterator[Sample]:
    """Yield the samples of arrays whose leading axis counts them."""
    _check_names(columns, specs, "data")
    arrays = {spec.name: _to_array(columns[spec.name], f"data, input {spec.name}") for spec in specs}
    for spec in specs:
        if spec.shape and fits(arrays[spec.name].shape, spec.shape[1:]):
            raise DataError(
                "is a single sample",
                where=f"data, input {spec.name}",
                hint="stack several along a leading axis, or give a list of samples",
            )
    for name, array in arrays.items():
        if array.ndim == 0:
            raise DataError(
                "has no sample axis", where=f"data, input {name}", hint="the leading axis counts the samples"
            )
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        listing = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(
            f"the inputs have different numbers of samples: {listing}",
            where="data",
            hint="the leading axis of every array counts the samples",
        )
    for index in range(next(iter(lengths.values()))):
        yield {name: np.asarray(array[index]) for name, array in arrays.items()}


def _named(value: object, specs: Sequence[InputSpec], where: str) -> Mapping[Any, object]:
    """Return the values of a sample by input name."""
    if isinstance(value, Mapping):
        _check_names(value, specs, where)
        return value
    if isinstance(value, (list, tuple)):
        if len(value) != len(specs):
            names = ", ".join(spec.name for spec in specs)
            raise DataError(
                f"has {len(value)} values but the model has {len(specs)} inputs: {names}",
                where=where,
                hint=_count_hint(value, specs),
            )
        return {spec.name: item for spec, item in zip(specs, value, strict=True)}
    if value is None:
        raise DataError("is None", where=where, hint=FORMS)
    return {_only_input(specs, where): value}


def _check_names(value: Mapping[Any, object], specs: Sequence[InputSpec], where: str) -> None:
    wanted = [spec.name for spec in specs]
    missing = [name for name in wanted if name not in value]
    unknown = [str(name) for name in value if name not in wanted]
    if missing or unknown:
        what = f"has no input {missing[0]!r}" if missing else f"names {unknown[0]!r}, which is no input"
        raise DataError(what, where=where, hint=f"the inputs of the model are {', '.join(wanted)}")


def _to_array(value: object, where: str) -> Array:
    try:
        return as_array(value)
    except NoArrayError as error:
        raise DataError(
            f"cannot be read as an array of numbers: {error}",
            where=where,
            hint="give numpy arrays; a tensor of PyTorch is one by tensor.detach().cpu().float().numpy()",
        ) from error


def _checked(value: object, spec: InputSpec, where: str, batches: _Batches, notices: set[str]) -> Array:
    """Return the array of an input in its type, with a batch dimension."""
    array = _to_array(value, where)
    if is_float(spec.dtype) and array.dtype in (np.uint8, np.int8):
        raise DataError(
            f"holds {array.dtype} values but the input is {spec.dtype.name}",
            where=where,
            hint="normalise images as in training, then convert them with astype('float32')",
        )
    if array.dtype != spec.dtype and spec.name not in notices:
        notices.add(spec.name)
        logger.info("input %s: %s values are converted to %s", spec.name, array.dtype, spec.dtype.name)
    shape = _batched(array.shape, spec, batches)
    if shape is None:
        raise DataError(
            f"has the shape {show_shape(array.shape)} but the model's input has {show_shape(spec.shape)}",
            where=where,
            hint=_shape_hint(array.shape, spec.shape or ()),
        )
    if array.size == 0:
        raise DataError("holds no value", where=where, hint="leave the sample out")
    return converted(array, spec.dtype, where).reshape(shape)


def _batched(shape: tuple[int, ...], spec: InputSpec, batches: _Batches) -> tuple[int, ...] | None:
    """Return a sample's shape with a batch dimension, or None if the input does not take the sample."""
    expected = spec.shape
    if expected is None or fits(shape, expected):
        return shape
    if expected and fits(shape, expected[1:]):
        return (1, *shape)
    if not expected:
        return () if all(size == 1 for size in shape) else None
    return shape if fits(shape, (None if batches.are_shared else 1, *expected[1:])) else None


def _count_hint(value: Sequence[object], specs: Sequence[InputSpec]) -> str:
    if len(value) < len(specs):
        return "give an array for every input, in the order of the inputs"
    if not any(map(_is_array, value)):
        return "lists of numbers are no array: numpy.asarray makes one"
    return "leave labels out, as in (images for images, labels in loader)"


def _shape_hint(shape: tuple[int, ...], expected: Sequence[int | None]) -> str:
    """Return what a user has probably done who gives a sample of a wrong shape."""
    for axes in ((0, 3, 1, 2), (0, 2, 3, 1)):
        whole = shape if len(shape) == len(axes) else (1, *shape)
        if len(whole) == len(axes) and fits(tuple(whole[axis] for axis in axes), (None, *expected[1:])):
            moved = axes if whole is shape else tuple(axis - 1 for axis in axes[1:])
            return f"the channels stand elsewhere: array.transpose{moved}"
    if len(shape) not in (len(expected), len(expected) - 1):
        return "every item of the data is a sample, without its label"
    return "the batch dimension may be left out; the others must fit"


class _Batches:
    """Takes batches apart that do not fill the batch of the model.

    A symbolic batch is filled with single samples. A fixed batch that all inputs share is filled either with
    whole batches, of which a smaller last one is left out, or with the rows of batches of any other size.
    """

    def __init__(self, specs: Sequence[InputSpec]) -> None:
        leading = {spec.shape[0] if spec.shape else 0 for spec in specs}
        self._size = leading.pop() if len(leading) == 1 else 0
        self._whole = False

    @property
    def are_shared(self) -> bool:
        """Whether all inputs have the same batch, so that batches can be taken apart."""
        return self._size != 0

    def rows(self, arrays: Sample, where: str) -> Iterator[Sample]:
        """Yield the rows of a batch, or the whole batch."""
        if not self.are_shared:
            yield arrays
            return
        rows = {name: len(array) for name, array in arrays.items()}
        if len(set(rows.values())) > 1:
            listing = ", ".join(f"{name} {count}" for name, count in rows.items())
            raise DataError(
                f"the inputs have different batches: {listing}",
                where=where,
                hint="all inputs of a sample have the same leading dimension",
            )
        count = next(iter(rows.values()))
        self._whole |= count == self._size
        if count == self._size:
            yield arrays
        elif self._whole and self._size != 1:
            logger.warning(
                "%s: its batch of %d does not fill the model's batch and is left out", where, count
            )
        else:
            for row in range(count):
                yield {name: array[row : row + 1] for name, array in arrays.items()}
