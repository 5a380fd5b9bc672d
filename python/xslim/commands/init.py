"""``xslim init``: look at a model and write a configuration to start from."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from xslim.commands.starting.guesses import Guess, Section, guess_quantization, plain_name
from xslim.commands.starting.rollout import reached_states
from xslim.commands.starting.starter import Starter, make_starter
from xslim.commands.starting.trial import try_out
from xslim.commands.text import say
from xslim.errors import OutputError, XSlimError
from xslim.files import InputFile, refuse_inputs, write_whole
from xslim.graph.inputs import input_specs
from xslim.pipeline.load import require_float
from xslim.pipeline.protect import load_protected_model, weight_files
from xslim.texts import spoken

logger = logging.getLogger(__name__)

UNMARKED = "A starting point for xslim -c, from the model and its data."
MARKED = "A starting point for xslim -c, from the model and its data: check what is marked with CHECK."
NOT_PROVED = 1
"""Exit status if the configuration was written, but two samples do not run through the float model."""


def run(model: str, data: Sequence[str], output: str | None) -> int:
    """Write the configuration and a list file for every input, and try them out.

    Returns
    -------
    int
        0, or 1 if the configuration does not work yet.
    """
    written, starter = _write(Path(model), data, Path(output) if output else None)
    target = written[-1]
    for path in written:
        if path.suffix != ".npy":
            say(f"wrote {path}")
    for note in starter.notes:
        say(note)
    if starter.missing:
        say(f"not tried, as the files are still to be listed for: {', '.join(starter.missing)}")
    else:
        try:
            say(try_out(starter.model, target))
            _write_states(starter, target)
        except XSlimError as error:
            logger.warning("the configuration does not work yet: %s", error)
            say(f"The files stay as they are written. Correct {target}, then run: xslim -c {target}")
            return NOT_PROVED
    say(
        f"Check what is marked CHECK, then run: xslim -c {target}"
        if starter.has_marks
        else f"Run: xslim -c {target}"
    )
    return 0


def write_starter(model_path: Path, data: Sequence[str], output: Path | None) -> list[Path]:
    """Look at a model and write a commented configuration for it, with list files for its data.

    Normalisation, order of colours and geometry of images are tried on the model where it can run.

    Parameters
    ----------
    model_path : Path
        The ONNX model.
    data : sequence of str
        Where the calibration files are: a folder, a list (.txt) or arrays (.npz), for one input after
        ``INPUT=``. A folder may hold a folder for each input.
    output : Path, optional
        The configuration; by default ``<stem>.json`` in the current folder.

    Returns
    -------
    list of Path
        What was written, the configuration last.

    Raises
    ------
    ModelError
        The model cannot be read, or is quantised already.
    DataError
        A folder is missing or holds no calibration file.
    OutputError
        A file exists already or cannot be written.
    """
    return _write(model_path, data, output)[0]


def _write(model_path: Path, data: Sequence[str], output: Path | None) -> tuple[list[Path], Starter]:
    target = (output or Path(f"{model_path.stem}.json")).absolute()
    model = load_protected_model(model_path, [target])
    require_float(model)
    starter = make_starter(model, data, target)
    contents: dict[Path, str | bytes] = {path: _npy(array) for path, array in starter.arrays.items()}
    contents |= starter.functions
    contents |= {path: _listing(files, target.parent) for path, files in starter.lists.items()}
    quantization = guess_quantization(model, input_specs(model))
    contents[target] = render(_model_section(model_path, target), starter, quantization)
    samples = [
        InputFile(path, "the calibration file")
        for files in starter.lists.values()
        for path in files
        if path not in starter.arrays
    ]
    refuse_inputs(contents, [InputFile(model_path, "the model"), *weight_files(model), *samples])
    for path in contents:
        if os.path.lexists(path):
            raise OutputError("exists already", where=str(path), hint="name another file with -o")
    _write_all(contents)
    return list(contents), starter


def _write_states(starter: Starter, target: Path) -> None:
    """Replace states of zeros by those that the model reaches on the samples."""
    longest = max(len(files) for files in starter.lists.values())
    if not starter.states or longest == 1:
        return
    try:
        reached = reached_states(starter.model, target, starter.states)
    except XSlimError as error:
        logger.warning("the states stay zeros: %s", error)
        return
    for name, arrays in reached.items():
        listing = target.with_name(f"{target.stem}_{plain_name(name)}.txt")
        folder = starter.lists[listing][0].parent
        files = [folder / f"{index:04d}.npy" for index in range(len(arrays))]
        for path, array in zip(files, arrays, strict=True):
            write_whole(path, _npy(array))
        # Lists are read line by line together, so that this one has to be as long as the longest.
        write_whole(listing, _listing([files[index % len(files)] for index in range(longest)], target.parent))
        before = starter.states[name]
        say(f"input {name}: zeros for the first of {len(arrays)} samples, then {before} of the one before")


def _npy(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _write_all(contents: Mapping[Path, str | bytes]) -> None:
    """Write all of the new files; if one cannot be written, remove the others again, and their folders."""
    written: list[Path] = []
    missing = {folder for path in contents for folder in path.parents if not folder.exists()}
    try:
        for path, content in contents.items():
            write_whole(path, content)
            written.append(path)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        for folder in sorted(missing, key=lambda folder: len(folder.parts), reverse=True):
            with suppress(OSError):
                folder.rmdir()
        raise


def render(model: Section, starter: Starter, quantization: Section) -> str:
    """Write the configuration as JSON with comments."""
    entries = starter.entries
    lines = [
        f"// {spoken(MARKED if starter.has_marks else UNMARKED)}",
        "{",
        '  "model_parameters": {',
        *_fields(model, 4),
        "  },",
        '  "calibration_parameters": {',
        f"    // {spoken('Some 100 files that look like real use are enough.')}",
        '    "calibration_step": 100,',
        '    "calibration_device": "cpu",',
        '    "input_parameters": [',
    ]
    for index, entry in enumerate(entries):
        lines += ["      {", *_fields(entry, 8), "      }" + ("," if index < len(entries) - 1 else "")]
    return "\n".join(
        [*lines, "    ]", "  },", '  "quantization_parameters": {', *_fields(quantization, 4), "  }", "}", ""]
    )


def _fields(section: Section, indent: int) -> list[str]:
    lines = []
    for index, (name, guess) in enumerate(section.items()):
        if guess.reason:
            lines.append(f"{' ' * indent}// {spoken(guess.reason)}")
        comma = "," if index < len(section) - 1 else ""
        lines.append(f'{" " * indent}"{name}": {json.dumps(guess.value)}{comma}')
    return lines


def _model_section(model_path: Path, target: Path) -> Section:
    return {
        "onnx_model": Guess(_relative(model_path.absolute(), target.parent)),
        "output_prefix": Guess(f"{model_path.stem}.q", "Name of the result, without .onnx."),
    }


def _listing(files: Sequence[Path], folder: Path) -> str:
    return "".join(f"{_relative(path, folder)}\n" for path in files)


def _relative(path: Path, folder: Path) -> str:
    """Return the path relative to a folder if it is inside or beside the folder, else the absolute path."""
    relative = Path(os.path.relpath(path, folder)).as_posix()
    return str(path) if relative.startswith("../..") else relative
