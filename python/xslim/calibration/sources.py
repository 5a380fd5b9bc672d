"""Match list files with model inputs, and check as much as possible before the model runs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from xslim.calibration.arrays import is_float
from xslim.calibration.decode import ImageDecoder, NpyDecoder, RawDecoder
from xslim.calibration.geometry import ImageLayout, image_layout, show_shape
from xslim.calibration.lists import Entry, beyond, check_files, read_entries
from xslim.calibration.preprocess import UserFunction, given_function, load_function
from xslim.config import CalibrationParameters, InputParameters
from xslim.config.fields import PRESETS
from xslim.errors import ConfigError, DataError
from xslim.graph.inputs import InputSpec

logger = logging.getLogger(__name__)

Shape = tuple[int | None, ...]
Decoder = ImageDecoder | NpyDecoder | RawDecoder


@dataclass(frozen=True)
class Source:
    """The files of one model input and how they are read.

    Attributes
    ----------
    name : str
        Name of the input.
    shape : tuple of int or None, or None
        Shape that the model takes. A None in the tuple stands for any size, a plain None for any shape.
    entries : list of Entry
        The files, at most ``calibration_step``.
    reader : Decoder or UserFunction
        A decoder reads one file, a user's function a batch of files.
    parameters : InputParameters
        The input's entry in the configuration.
    beyond : list of Entry
        A few files of the list that come after the first ``calibration_step`` ones.
    """

    name: str
    shape: Shape | None
    entries: list[Entry]
    reader: Decoder | UserFunction
    parameters: InputParameters
    beyond: list[Entry] = field(default_factory=list)

    @property
    def is_free(self) -> bool:
        """Whether the leading dimension may hold any number of samples."""
        return self.shape is not None and self.shape[:1] == (None,)

    def batched(self, shape: Sequence[int]) -> tuple[int, ...] | None:
        """Return a file's shape with a batch dimension added, or None if the input cannot take the file.

        A file holds either a whole batch or one row of it, with or without a leading dimension of 1. A file
        for an input without dimensions holds one number.
        """
        expected = self.shape
        if expected is None:
            return tuple(shape)
        if not expected:
            return () if all(size == 1 for size in shape) else None
        if fits(shape, expected):
            return tuple(shape)
        if expected and len(shape) == len(expected) - 1 and fits(shape, expected[1:]):
            return (1, *shape)
        if expected and fits(shape, (1, *expected[1:])):
            return tuple(shape)
        return None


def fits(shape: Sequence[int], expected: Shape) -> bool:
    """Whether a shape matches the expected one, in which None stands for any size."""
    return len(shape) == len(expected) and all(
        wanted is None or size == wanted for size, wanted in zip(shape, expected, strict=True)
    )


def make_sources(
    specs: Sequence[InputSpec], parameters: CalibrationParameters, base_dir: Path | None
) -> list[Source]:
    """Match the entries of ``input_parameters`` with the model's inputs and open their lists.

    Returns
    -------
    list of Source
        In the order of `specs`.

    Raises
    ------
    ConfigError
        The entries do not match the model.
    DataError
        A list or a file is wrong.
    """
    section = f"calibration_parameters.{parameters.inputs_name}"
    matched = _matched(specs, parameters.input_parameters, section)
    return [
        _source(spec, entry, where, parameters, base_dir)
        for spec, (entry, where) in zip(specs, matched, strict=True)
    ]


def _matched(
    specs: Sequence[InputSpec], entries: Sequence[InputParameters], section: str
) -> list[tuple[InputParameters, str]]:
    """Return an entry and its config path for each input: by name where given, else by position."""
    names = [spec.name for spec in specs]
    listing = ", ".join(f"{spec.name} {show_shape(spec.shape)} {spec.dtype.name}" for spec in specs)
    if len(entries) != len(specs):
        raise ConfigError(
            f"has {len(entries)} entries but the model has {len(specs)} inputs: {listing}",
            where=section,
            hint="one entry for each input",
        )
    found: dict[str, tuple[InputParameters, str]] = {}
    for index, entry in enumerate(entries):
        where = f"{section}[{index}]"
        name = entry.input_name or names[index]
        if name not in names:
            near = get_close_matches(name, names, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else f"the inputs are {listing}"
            raise ConfigError(f"the model has no input {name!r}", where=f"{where}.input_name", hint=hint)
        if name in found:
            raise ConfigError(
                f"two entries feed the input {name!r}", where=where, hint="give every entry an input_name"
            )
        found[name] = entry, where
    return [found[name] for name in names]


def _source(
    spec: InputSpec,
    entry: InputParameters,
    where: str,
    calibration: CalibrationParameters,
    base_dir: Path | None,
) -> Source:
    if entry.dtype is not None and entry.dtype != spec.dtype.name:
        raise ConfigError(
            f"is {entry.dtype} but the model's input {spec.name} is {spec.dtype.name}",
            where=f"{where}.dtype",
            hint="leave dtype out: it is read from the model",
        )
    shape = _shape(spec, entry, where)
    reader = _reader(spec, entry, shape, where, base_dir)
    if not entry.has_files:
        raise ConfigError(
            "required where calibration data are read",
            where=f"{where}.data_list_path",
            hint="name the text file that lists the calibration files, one path per line",
        )
    listed = read_entries(entry, base_dir)
    entries = listed[: calibration.calibration_step]
    check_files(entries)
    source = Source(spec.name, shape, entries, reader, entry, beyond(listed, calibration))
    _check_shapes(source)
    return source


def _shape(spec: InputSpec, entry: InputParameters, where: str) -> Shape | None:
    if entry.input_shape is None or spec.shape is None:
        return entry.input_shape or spec.shape
    if not fits(entry.input_shape, spec.shape):
        raise ConfigError(
            f"{show_shape(entry.input_shape)} does not fit the model's input {spec.name} "
            f"of shape {show_shape(spec.shape)}",
            where=f"{where}.input_shape",
            hint="leave input_shape out, or set only what the model leaves open",
        )
    # For a symbolic batch, users write a leading 1 that means "any size". Any other number is a fixed batch.
    leading = None if spec.shape[:1] == (None,) and entry.input_shape[0] == 1 else entry.input_shape[:1]
    return entry.input_shape if leading is not None else (None, *entry.input_shape[1:])


def _reader(
    spec: InputSpec, entry: InputParameters, shape: Shape | None, where: str, base_dir: Path | None
) -> Decoder | UserFunction:
    preprocess = entry.preprocess_file
    if entry.function is not None:
        return given_function(entry.function, _for_user(spec, entry, shape), spec.dtype)
    if preprocess is not None and preprocess not in PRESETS:
        return load_function(preprocess, _for_user(spec, entry, shape), spec.dtype, base_dir)
    if entry.file_type == "img":
        layout = image_layout(shape or (), where)
        _check_normalisation(spec, entry, layout, where)
        return ImageDecoder(layout, spec.dtype, entry)
    if entry.mean_value is not None or entry.std_value is not None:
        logger.warning(
            "%s: mean_value and std_value apply to images, not to %s files", where, entry.file_type
        )
    return NpyDecoder(spec.dtype) if entry.file_type == "npy" else _raw_decoder(spec, shape, where)


def _check_normalisation(spec: InputSpec, entry: InputParameters, layout: ImageLayout, where: str) -> None:
    for name in ("mean_value", "std_value"):
        values = getattr(entry, name)
        if values is None:
            continue
        if len(values) not in (1, layout.channels):
            raise ConfigError(
                f"has {len(values)} values but the input {spec.name} has {layout.channels} channels",
                where=f"{where}.{name}",
                hint="give one value, or one per channel",
            )
        if not is_float(spec.dtype):
            raise ConfigError(
                f"makes floats of an image but the input {spec.name} is {spec.dtype.name}",
                where=f"{where}.{name}",
                hint="leave mean_value and std_value out",
            )


def _raw_decoder(spec: InputSpec, shape: Shape | None, where: str) -> RawDecoder:
    rest = shape[1:] if shape else ()
    if shape is None or None in rest:
        raise ConfigError(
            f"raw files have no shape of their own and the input's is {show_shape(shape)}",
            where=where,
            hint="set input_shape",
        )
    inner = tuple(size for size in rest if size is not None)
    whole = (shape[0] or 1, *inner) if shape else ()
    row = (1, *inner) if shape else ()
    return RawDecoder(spec.dtype, tuple(dict.fromkeys((whole, row))))


def _for_user(spec: InputSpec, entry: InputParameters, shape: Shape | None) -> dict[str, object]:
    """Return the entry that a user's function gets: JSON types, completed with the model's shape and type."""
    known = None if shape is None else [*(size or 1 for size in shape[:1]), *shape[1:]]
    content = entry.model_dump(mode="json")
    return content | {"input_name": spec.name, "input_shape": known, "dtype": spec.dtype.name}


def _check_shapes(source: Source) -> None:
    """Check the headers of all files, so that a long run does not fail at its last file."""
    reader = source.reader
    if isinstance(reader, (UserFunction, ImageDecoder)):
        return
    leading = set()
    for entry in source.entries:
        shape = reader.shape(entry)
        batched = source.batched(shape)
        if batched is None:
            raise wrong_shape(source, shape, entry.where)
        leading.add(batched[:1])
        if not source.is_free and len(leading) > 1:
            raise DataError(
                "some files of the list hold a whole batch and some only a part",
                where=entry.where,
                hint="save all of them with the same number of samples",
            )


def wrong_shape(source: Source, shape: Sequence[int], where: str) -> DataError:
    """Make the error for data that the input cannot take."""
    return DataError(
        f"has the shape {show_shape(tuple(shape))} but the input {source.name} has "
        f"{show_shape(source.shape)}",
        where=where,
        hint="save the array in the input's shape, with or without the batch dimension",
    )


def rows_per_run(source: Source) -> int:
    """Return how many files fill the leading dimension of one run; more than 1 only for a fixed batch."""
    leading = source.shape[0] if source.shape else None
    if leading is None or leading == 1:
        return 1
    if isinstance(source.reader, UserFunction):
        return leading
    shape = source.batched(source.reader.shape(source.entries[0]))
    assert shape is not None
    return leading if int(np.prod(shape[:1])) == 1 else 1
