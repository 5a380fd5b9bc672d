"""What a run reads and writes: no output takes the place of an input, and every output can be written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import onnx_ir as ir

from xslim.calibration.lists import read_list
from xslim.config import Config, resolve_path
from xslim.config.fields import PRESETS, is_table_path
from xslim.errors import DataError
from xslim.files import InputFile, refuse_inputs, require_place, require_writable
from xslim.graph.io import data_files, load_model
from xslim.pipeline.load import load_float_model
from xslim.pipeline.paths import ModelSource


def load_protected(
    config: Config,
    source: ModelSource,
    outputs: Sequence[Path],
    reports: Sequence[Path] = (),
    sketch_files: Iterable[Path] = (),
) -> ir.Model:
    """Load the float model of a run, once it is sure that the outputs can be written and replace no input.

    Parameters
    ----------
    config : Config
        The configuration of the run.
    source : ModelProto or Path
        The model.
    outputs : sequence of Path
        The files that the run may write.
    reports : sequence of Path
        Files that it may write, and does without where they cannot be written.
    sketch_files : iterable of Path
        Sketches that the run reads.

    Raises
    ------
    OutputError
        An output is the configuration, the table of the target, the model, its data, a list, a calibration
        file, the file of a preprocessing function or a sketch file, be it through links, or it cannot be
        written.
    ModelError
        The model cannot be read, or is quantised already.
    """
    written = [*outputs, *reports]
    refuse_inputs(written, input_files(config, source, sketch_files))
    model = load_float_model(config, source)
    refuse_inputs(written, weight_files(model))
    prepare_files(outputs)
    return model


def load_protected_model(path: Path, outputs: Sequence[Path] = ()) -> ir.Model:
    """Load a model that is read without a configuration, once it is sure that no output takes its place.

    Raises
    ------
    OutputError, ModelError
        As of `load_protected`.
    """
    refuse_inputs(outputs, [InputFile(path, "the model")])
    model = load_model(path)
    refuse_inputs(outputs, weight_files(model))
    return model


def input_files(
    config: Config, source: ModelSource, sketch_files: Iterable[Path] = ()
) -> Iterator[InputFile]:
    """Name every file that a run reads, apart from the data of the model."""
    if config.file is not None:
        yield InputFile(config.file, "the configuration")
    target = config.quantization_parameters.target
    if is_table_path(target):
        yield InputFile(resolve_path(target, config.base_dir), "the target's table")
    if isinstance(source, Path):
        yield InputFile(source, "the model")
    for path in sketch_files:
        yield InputFile(path, "the sketch file")
    yield from calibration_files(config)


def calibration_files(config: Config) -> Iterator[InputFile]:
    """Name the lists of a configuration, the files that they name, and those of preprocessing functions.

    What cannot be read is left out: whoever needs it says so.
    """
    calibration = config.calibration_parameters
    for entry in calibration.input_parameters:
        if entry.preprocess_file is not None and entry.preprocess_file not in PRESETS:
            file, _, _ = entry.preprocess_file.rpartition(":")
            yield InputFile(resolve_path(file, config.base_dir), "the preprocessing file")
        if entry.data_list_path is None:
            continue
        yield InputFile(resolve_path(entry.data_list_path, config.base_dir), "the list")
        with suppress(DataError):
            entries = read_list(entry.data_list_path, config.base_dir)
            for sample in islice(entries, calibration.calibration_step):
                yield InputFile(sample.path, "the calibration file")


def weight_files(model: ir.Model) -> Iterator[InputFile]:
    """Name the files beside a model that was just loaded."""
    return (InputFile(path, "the model's data") for path in data_files(model))


def prepare_files(files: Sequence[Path]) -> None:
    """Make sure, before any work starts, that files can be written.

    Missing folders are made to see whether they can be, and taken away again.

    Raises
    ------
    OutputError
        A folder cannot be made or written, or a folder, a link or a device is in the place of a file.
    """
    for folder in dict.fromkeys(file.parent for file in files):
        require_writable(folder)
    for file in files:
        require_place(file)
