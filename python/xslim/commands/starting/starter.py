"""What ``xslim init`` writes for a model: the entries of its inputs, lists, arrays and preprocessing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.commands.starting.audio import listen, rate_of
from xslim.commands.starting.found import MOST_ARRAYS, Found, find_data, made
from xslim.commands.starting.guesses import Guess, Section, guess_entry, list_name, plain_name
from xslim.commands.starting.measured import measured_entry
from xslim.commands.starting.shapes import Shape, open_dimensions, shapes_of
from xslim.commands.starting.unfed import STATE, Filling, fill, fillings, following
from xslim.graph.inputs import InputSpec, input_specs

Array = NDArray[Any]

CHECK = "CHECK"
"""The mark of what is only a guess."""


@dataclass(frozen=True)
class Starter:
    """What is to be written, and what to say about it.

    Attributes
    ----------
    model : onnx_ir.Model
        The model.
    entries : list of Section
        An entry of ``input_parameters`` for each input.
    lists : dict of Path to sequence of Path
        The files of each list.
    arrays : dict of Path to array
        Calibration files that are not there yet.
    functions : dict of Path to str
        Files with preprocessing functions.
    missing : list of str
        Inputs without files.
    notes : list of str
        Lines to print.
    states : dict of str to str
        Inputs that are states of zeros so far, and the outputs that hold their next values.
    """

    model: ir.Model
    entries: list[Section] = field(default_factory=list)
    lists: dict[Path, Sequence[Path]] = field(default_factory=dict)
    arrays: dict[Path, Array] = field(default_factory=dict)
    functions: dict[Path, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)

    @property
    def has_marks(self) -> bool:
        """Whether something is marked with `CHECK`, as it is only a guess."""
        reasons = [guess.reason for entry in self.entries for guess in entry.values()]
        return any(text.startswith(CHECK) or text.endswith(CHECK) for text in [*reasons, *self.notes])


def make_starter(model: ir.Model, data: Sequence[str], target: Path) -> Starter:
    """Find the calibration files of the model, and guess the rest.

    Raises
    ------
    DataError
        A folder or file of the data is missing or wrong.
    """
    specs = input_specs(model)
    without = fillings(model, specs)
    room = target.with_name(f"{target.stem}_samples")
    found = find_data(specs, [spec.name for spec in specs if spec.name not in without], data, room)
    starter = Starter(model)
    next_values = following(model, specs)
    rate = rate_of([path for item in found.values() if item.kind == "wav" for path in item.files], without)
    sections = _heard(specs, found, without, rate, starter, target)
    fed = {spec.name: shapes_of(spec, found[spec.name]) for spec in specs if spec.name in found}
    for spec in specs:
        filling = without.get(spec.name)
        if spec.name not in found and filling is not None and (found or not filling.follows):
            arrays = fill(spec, filling, model, fed, rate)
            found[spec.name] = made(arrays, room / plain_name(spec.name), filling.reason)
            fed[spec.name] = [array.shape for array in arrays]
            starter.notes.append(_filled_note(spec, arrays))
            if filling is STATE and spec.name in next_values:
                starter.states[spec.name] = next_values[spec.name]
    lists = {name: target.with_name(f"{target.stem}_{plain_name(name)}.txt") for name in found}
    for spec in specs:
        item = found.get(spec.name)
        entry = _entry(spec, model, item, list_name(spec, lists), fed.get(spec.name, ()))
        entry |= sections.get(spec.name, {})
        entry |= {"data_list_path": entry.pop("data_list_path")}
        starter.entries.append(measured_entry(entry, spec, model, item.files if item else (), len(specs)))
        if item is None:
            starter.missing.append(spec.name)
            continue
        starter.lists[lists[spec.name]] = item.files
        starter.arrays.update(item.arrays)
    taken = sum(len(item.files) == MOST_ARRAYS and bool(item.arrays) for item in found.values())
    if taken:
        starter.notes.append(f"took the first {MOST_ARRAYS} samples of larger files")
    return starter


def _filled_note(spec: InputSpec, arrays: Sequence[Array]) -> str:
    values = np.unique(arrays[0])
    text = f"all {values[0]:g}" if len(values) == 1 else f"{values[0]:g} to {values[-1]:g}"
    sizes = f"{list(arrays[0].shape)} for every sample" if len(arrays) == 1 else "in the size of each sample"
    return f"input {spec.name} has no data and gets {text}, {sizes}: CHECK"


def _heard(
    specs: Sequence[InputSpec],
    found: dict[str, Found],
    without: Mapping[str, Filling],
    rate: int,
    starter: Starter,
    target: Path,
) -> dict[str, Section]:
    """Prepare the inputs that .wav files feed; return what their entries say beyond the usual."""
    others = {
        spec.name: fill(spec, without[spec.name], starter.model, {}, rate)[0]
        for spec in specs
        if spec.name in without and spec.name not in found
    }
    sections = {}
    for spec in specs:
        item = found.get(spec.name)
        if item is None or item.kind != "wav":
            continue
        folder = target.with_name(f"{target.stem}_samples") / plain_name(spec.name)
        item, section, text = listen(spec, starter.model, item, others, rate, folder)
        if text:
            path = target.with_name(f"{target.stem}_{plain_name(spec.name)}.py")
            starter.functions[path] = text
            function = section["preprocess_file"]
            section["preprocess_file"] = Guess(f"{path.name}:{function.value}", function.reason)
        found[spec.name], sections[spec.name] = item, section
    return sections


def _entry(
    spec: InputSpec, model: ir.Model, item: Found | None, listing: str, shapes: Sequence[Shape]
) -> Section:
    if item is None:
        return guess_entry(spec, model, None, listing)
    entry = guess_entry(
        spec, model, "raw" if item.kind == "wav" else item.kind, listing, _sizes(spec, shapes)
    )
    if item.reason:
        entry["data_list_path"] = Guess(listing, item.reason)
    return entry


def _sizes(spec: InputSpec, shapes: Sequence[Shape]) -> Section | None:
    """Return ``input_shape`` if the files tell it; empty if they differ; None if they tell nothing."""
    if not shapes or spec.shape is None or None not in spec.shape[1:]:
        return None
    known = open_dimensions(spec, shapes)
    if known is None:
        return {}
    return {"input_shape": Guess(known, "The sizes that the model leaves open, as the files have them.")}
