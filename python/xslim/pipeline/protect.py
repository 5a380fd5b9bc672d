"""Check, before a run, that its outputs replace no input and can be written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import onnx_ir as ir

from xslim.calibration.lists import beyond, read_entries, require_files
from xslim.config import Config, resolve_path
from xslim.config.fields import is_table_path
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
    *,
    reads_samples: bool = True,
) -> ir.Model:
    """Check that the outputs of a run can be written and replace no input, and load the float model.

    Parameters
    ----------
    config : Config
        The configuration of the run.
    source : ModelProto or Path
        The model.
    outputs : sequence of Path
        The files that the run may write.
    reports : sequence of Path
        Files that the run may write and that are optional: the run goes on if they cannot be written.
    sketch_files : iterable of Path
        Sketches that the run reads.
    reads_samples : bool
        Whether the run needs the calibration files, so that it can be refused now if one is missing.

    Raises
    ------
    DataError
        A list or a calibration file is missing.
    OutputError
        An output is the configuration, the table of the target, the model, its data, a list, a calibration
        file, the file of a preprocessing function or a sketch file, be it through links, or it cannot be
        written.
    ModelError
        The model cannot be read, or is quantised already.
    """
    written = [*outputs, *reports]
    refuse_inputs(written, input_files(config, source, sketch_files))
    if reads_samples and config.quantization_parameters.precision_level.is_static:
        require_files(config.calibration_parameters, config.base_dir)
    model = load_float_model(config, source)
    refuse_inputs(written, weight_files(model))
    prepare_files(outputs)
    return model


def load_protected_model(source: ModelSource, outputs: Sequence[Path] = ()) -> ir.Model:
    """Check that no output replaces the model of a command without a configuration, and load the model.

    Raises
    ------
    OutputError, ModelError
        The same as for `load_protected`.
    """
    refuse_inputs(outputs, [InputFile(source, "the model")] if isinstance(source, Path) else [])
    model = load_model(source)
    refuse_inputs(outputs, weight_files(model))
    return model


def input_files(
    config: Config, source: ModelSource, sketch_files: Iterable[Path] = ()
) -> Iterator[InputFile]:
    """Yield every file that a run reads, except the external data of the model."""
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
    """Yield the lists of a configuration, the files in the lists, and the files of preprocessing functions.

    Files that cannot be read are left out; the code that needs them raises the error.
    """
    calibration = config.calibration_parameters
    for entry in calibration.input_parameters:
        if entry.has_own_function and entry.preprocess_file is not None:
            file, _, _ = entry.preprocess_file.rpartition(":")
            yield InputFile(resolve_path(file, config.base_dir), "the preprocessing file")
        if not entry.has_files:
            continue
        if entry.data_list_path is not None:
            yield InputFile(resolve_path(entry.data_list_path, config.base_dir), "the list")
        with suppress(DataError):
            entries = read_entries(entry, config.base_dir)
            used = entries[: calibration.calibration_step]
            for sample in [*used, *beyond(entries, calibration)]:
                yield InputFile(sample.path, "the calibration file")


def weight_files(model: ir.Model) -> Iterator[InputFile]:
    """Yield the external data files of a model returned by `load_model`."""
    return (InputFile(path, "the model's data") for path in data_files(model))


def prepare_files(files: Sequence[Path]) -> None:
    """Check, before any work starts, that files can be written.

    Missing folders are created to check that they can be, and removed again.

    Raises
    ------
    OutputError
        A folder cannot be created or written, or the path of a file is a folder, a link or a device.
    """
    for folder in dict.fromkeys(file.parent for file in files):
        require_writable(folder)
    for file in files:
        require_place(file)
