"""The true classes of samples: a list of labels, a folder with one sub-folder for each class, or numbers."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xslim.calibration.lists import Entry
from xslim.commands.starting.guesses import files_in
from xslim.errors import DataError
from xslim.files import InputFile, refuse_inputs, require_content

logger = logging.getLogger(__name__)

CLASSES_FILE = "classes.txt"
FORMS = 'a line is "path label", or a class number alone for samples in their order'


@dataclass(frozen=True)
class Labels:
    """The classes of samples, by file or in the order of the samples.

    Attributes
    ----------
    place : str
        Where the labels come from, for messages.
    numbers : tuple of int
        Class numbers, from 0.
    files : tuple of Entry
        The file of every number; empty if the numbers are in the order of the samples.
    classes : int or None
        Number of classes that a folder has.
    """

    place: str
    numbers: tuple[int, ...]
    files: tuple[Entry, ...] = ()
    classes: int | None = None


def read_labels(given: str | Path | Sequence[int] | NDArray[np.integer]) -> Labels:
    """Read labels.

    Parameters
    ----------
    given : str, Path, sequence of int or array
        A text file, an ``.npy`` file of numbers, a folder with one sub-folder for each class (their sorted
        order gives the class numbers), or the numbers themselves in the order of the samples.

    Raises
    ------
    DataError
        The labels cannot be read, are empty, or contradict each other.
    """
    if not isinstance(given, (str, Path)):
        return Labels("labels", _numbers(np.asarray(given), "labels"))
    path = Path(given).absolute()
    refuse_inputs([], [InputFile(path, "the labels")])
    if path.is_dir():
        return _folder(path)
    if path.suffix == ".npy":
        return Labels(str(path), _numbers(_array(path), str(path)))
    return _listed(path)


def labels_of(labels: Labels, paths: Sequence[Path]) -> list[int | None]:
    """Return the class of each file, or None where no label names it.

    A relative path in a list starts at the folder of the list. If no sample is there, it names the sample
    whose path ends with it.

    Raises
    ------
    DataError
        A relative path fits several samples.
    """
    by_path = {
        entry.path.resolve(): number for entry, number in zip(labels.files, labels.numbers, strict=True)
    }
    by_name = {
        Path(entry.name).parts: place
        for place, entry in enumerate(labels.files)
        if not Path(entry.name).is_absolute()
    }
    found: list[int | None] = [by_path.get(path.resolve()) for path in paths]
    used: dict[int, Path] = {}
    for index, path in enumerate(paths):
        if found[index] is not None:
            continue
        ends = (path.parts[start:] for start in range(len(path.parts)))
        place = next((by_name[end] for end in ends if end in by_name), None)
        if place is None:
            continue
        if used.setdefault(place, path) != path:
            raise DataError(
                f"the label fits two samples, {used[place]} and {path}",
                where=labels.files[place].where,
                hint="write more of the path",
            )
        found[index] = labels.numbers[place]
    return found


def _numbers(array: NDArray[np.generic], place: str) -> tuple[int, ...]:
    if array.ndim != 1 or array.dtype.kind not in "iu" or not array.size:
        raise DataError(
            f"must be class numbers in one dimension, got {array.dtype} of shape {array.shape}",
            where=place,
            hint="one integer for each sample",
        )
    numbers = tuple(int(number) for number in array)
    if min(numbers) < 0:
        raise DataError(f"label {min(numbers)} is not a class number", where=place, hint="they start at 0")
    return numbers


def _array(path: Path) -> NDArray[np.generic]:
    try:
        require_content(path)
        array: NDArray[np.generic] = np.load(path, allow_pickle=False)
    # numpy raises many kinds of exceptions for a damaged file.
    except Exception as error:
        raise DataError(
            f"cannot read the labels: {error}", where=str(path), hint="numpy.save writes it"
        ) from error
    return array


def _folder(folder: Path) -> Labels:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise DataError(
            "has no sub-folder for a class",
            where=str(folder),
            hint="one sub-folder for each class, or a list",
        )
    inside = [path.relative_to(folder) for path in files_in(folder)]
    rows = [path for path in inside if path.parts[0] in names and len(path.parts) > 1]
    number = {name: index for index, name in enumerate(names)}
    numbers = tuple(number[path.parts[0]] for path in rows)
    empty = [name for name in names if number[name] not in set(numbers)]
    if empty:
        raise DataError(
            f"the folder of class {empty[0]} holds no sample",
            where=str(folder),
            hint="every sub-folder counts as a class, as in ImageFolder of torchvision: remove it",
        )
    moved = [name for name in names if name.isdecimal() and int(name) != number[name]]
    if moved:
        logger.warning(
            "%s: folder %s is class %d: names are sorted as text, as ImageFolder does",
            folder,
            moved[0],
            number[moved[0]],
        )
    files = tuple(Entry(folder, line, str(folder / path)) for line, path in enumerate(rows, start=1))
    return Labels(str(folder), numbers, files, len(names))


@dataclass(frozen=True)
class _Line:
    where: str
    number: int
    path: str | None
    label: str


def _listed(path: Path) -> Labels:
    names = _text(path.parent / CLASSES_FILE) if (path.parent / CLASSES_FILE).is_file() else []
    classes = {name.strip(): index for index, name in enumerate(names) if name.strip()}
    lines = list(_lines(path, _text(path), classes))
    if not lines:
        raise DataError("holds no label", where=str(path), hint=FORMS)
    alone = lines[0].path is None
    odd = next((line for line in lines if (line.path is None) != alone), None)
    if odd is not None:
        raise DataError("some lines name a file and some do not", where=odd.where, hint=FORMS)
    numbers = tuple(_number(line, classes) for line in lines)
    if alone:
        return Labels(str(path), numbers)
    files = tuple(Entry(path, line.number, line.path or "") for line in lines)
    twice = next((name for name, count in Counter(entry.path for entry in files).items() if count > 1), None)
    if twice is not None:
        second = [entry for entry in files if entry.path == twice][1]
        raise DataError(
            "the file has a label already", where=second.where, hint="every file stands in one line"
        )
    return Labels(str(path), numbers, files)


def _text(path: Path) -> list[str]:
    try:
        require_content(path)
        return path.read_text("utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(
            f"cannot read the labels: {reason}",
            where=str(path),
            hint="a text file of labels, a folder with one sub-folder for each class, or an .npy file",
        ) from error


def _lines(path: Path, texts: Sequence[str], classes: dict[str, int]) -> Iterator[_Line]:
    for number, text in enumerate((text.strip() for text in texts), start=1):
        if not text:
            continue
        name, separator, label = text.rpartition("\t")
        if not separator and text not in classes:
            name, _, label = text.rpartition(" ")
        elif not separator:
            name, label = "", text
        yield _Line(f"{path}, line {number}", number, name.strip() or None, label.strip())


def _number(line: _Line, classes: dict[str, int]) -> int:
    if line.label in classes:
        return classes[line.label]
    if line.label.isascii() and line.label.isdecimal():
        return int(line.label)
    raise DataError(
        f"label {line.label!r} is not a class number" + (f" and not in {CLASSES_FILE}" if classes else ""),
        where=line.where,
        hint=f"{FORMS}; {CLASSES_FILE} beside the list names one class per line, for labels that are names",
    )
