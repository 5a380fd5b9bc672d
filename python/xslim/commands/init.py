"""``xslim init``: look at a model and write a configuration to start from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from xslim.commands.guesses import (
    Guess,
    Section,
    files_in,
    guess_entry,
    guess_quantization,
    list_name,
    match_folders,
    plain_name,
)
from xslim.commands.measured import measured_entry
from xslim.commands.text import say
from xslim.errors import OutputError
from xslim.files import InputFile, refuse_inputs, write_whole
from xslim.graph.inputs import input_specs
from xslim.pipeline.protect import load_protected_model, weight_files


def run(model: str, data: Sequence[str], output: str | None) -> int:
    """Write the configuration, and a list file for every folder."""
    written = write_starter(Path(model), data, Path(output) if output else None)
    for path in written:
        say(f"wrote {path}")
    say(f"Check what is marked CHECK, then run: xslim -c {written[-1]}")
    return 0


def write_starter(model_path: Path, data: Sequence[str], output: Path | None) -> list[Path]:
    """Look at a model and write a commented configuration for it, with list files for a folder of data.

    Normalisation, order of colours and geometry of images are tried on the model where it can run.

    Parameters
    ----------
    model_path : Path
        The ONNX model.
    data : sequence of str
        Folders with calibration files: one for all inputs (with a folder for each input inside, where there
        are several), or ``INPUT=FOLDER``.
    output : Path, optional
        The configuration; by default ``<stem>.json`` in the current folder.

    Returns
    -------
    list of Path
        What was written, the configuration last.

    Raises
    ------
    ModelError
        The model cannot be read.
    DataError
        A folder is missing or holds no calibration file.
    OutputError
        A file exists already or cannot be written.
    """
    target = (output or Path(f"{model_path.stem}.json")).absolute()
    model = load_protected_model(model_path, [target])
    specs = input_specs(model)
    files = {name: files_in(folder) for name, folder in match_folders(specs, data).items()}
    lists = {name: target.with_name(f"{target.stem}_{plain_name(name)}.txt") for name in files}
    entries = [guess_entry(spec, model, files.get(spec.name), list_name(spec, lists)) for spec in specs]
    entries = [
        measured_entry(entry, spec, model, files.get(spec.name, ()), len(specs))
        for entry, spec in zip(entries, specs, strict=True)
    ]
    texts = {lists[name]: _listing(paths, target.parent) for name, paths in files.items()}
    texts[target] = render(_model_section(model_path, target), entries, guess_quantization(model, specs))
    samples = [InputFile(path, "the calibration file") for paths in files.values() for path in paths]
    refuse_inputs(texts, [InputFile(model_path, "the model"), *weight_files(model), *samples])
    for path in texts:
        if os.path.lexists(path):
            raise OutputError("exists already", where=str(path), hint="name another file with -o")
    _write_all(texts)
    return list(texts)


def _write_all(texts: Mapping[Path, str]) -> None:
    """Write all of the new files; if one cannot be written, remove the others again."""
    written: list[Path] = []
    try:
        for path, text in texts.items():
            write_whole(path, text)
            written.append(path)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def render(model: Section, entries: Sequence[Section], quantization: Section) -> str:
    """Write the configuration as JSON with comments."""
    lines = [
        "// A starting point for xslim -c, from the model and its data: check what is marked with CHECK.",
        "{",
        '  "model_parameters": {',
        *_fields(model, 4),
        "  },",
        '  "calibration_parameters": {',
        "    // Some 100 files that look like real use are enough.",
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
            lines.append(f"{' ' * indent}// {guess.reason}")
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
