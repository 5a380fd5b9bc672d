"""`xslim.quantize`: quantise with data from memory or from files, and return what the run has found."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from xslim.calibration.lists import MOST_UNSEEN
from xslim.calibration.memory import write_samples
from xslim.config import CalibrationParameters, Config, ConfigSource, PrecisionLevel
from xslim.errors import ConfigError, OutputError
from xslim.files import scratch_folder
from xslim.graph.inputs import InputSpec, input_specs
from xslim.graph.io import PROTO_LIMIT_BYTES, load_model, weight_bytes
from xslim.library.models import ModelLike, source_of
from xslim.library.options import configuration
from xslim.library.progress import showing, warnings_collected
from xslim.library.result import Result
from xslim.pipeline.run import run
from xslim.progress import Listener

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from xslim.library.options import Options

# As a library, XSlim is silent unless the program configures logging.
logging.getLogger("xslim").addHandler(logging.NullHandler())


def quantize(
    model: ModelLike,
    data: object = None,
    *,
    config: ConfigSource | None = None,
    output: str | Path | None = None,
    progress: bool | Listener | None = None,
    spool: str | Path | None = None,
    **options: Unpack[Options],
) -> Result:
    """Quantise a model and return the result with its numbers.

    Parameters
    ----------
    model : str, Path, onnx.ModelProto or onnx_ir.Model
        The float model; it is not changed.
    data : object, optional
        The calibration samples, preprocessed as in training: a dict of arrays with a leading sample axis; one
        array for a model of one input; an iterable of samples, each a dict by input name, a tuple or list in
        the order of the inputs, or one array; a ``CalibrationDataReader``; or a function that returns one of
        these. Arrays are numpy arrays or anything with ``__array__`` or DLPack. Batches are divided into
        samples if the model's batch is symbolic. Not needed at levels 3, 4 and 100, or if `config` names
        files.
    config : dict, str, Path or Config, optional
        A configuration as for ``xslim -c``.
    output : str or Path, optional
        A ``.onnx`` file or a folder; the report is written beside it. Without it, nothing is written.
    progress : bool or callable, optional
        True shows a bar; a callable gets ``(phase, done, total)``.
    spool : str or Path, optional
        Folder in which the samples are kept during the run; by default the system's temporary folder. The
        samples disappear with the run.
    **options
        Fields of ``calibration_parameters`` and ``quantization_parameters``, such as ``calibration_step``,
        ``precision_level``, ``finetune_level`` or ``target``; they replace those of `config`.

    Returns
    -------
    Result
        The model, parameters, gains, comparison and report.

    Raises
    ------
    XSlimError
        Bad input is refused before the model runs: `ConfigError`, `DataError` with the number of the sample,
        `ModelError`, `OutputError`.
    """
    source = source_of(model)
    settings = dict(options)
    if output is None:
        # The report of the result is made when it is asked for.
        settings["analysis_enable"] = False
    with temporary_folder(spool) as folder, showing(progress), warnings_collected() as warnings:
        if data is None:
            loaded = without_data(config, settings, "xslim.quantize")
        else:
            specs = input_specs(load_model(source))
            # The options are checked before the samples are read.
            checked = configuration(config, settings, unread_entries(specs))
            limit = samples_to_take(checked.calibration_parameters)
            loaded = configuration(config, settings, entries_of(data, specs, limit, folder))
        finished, path = run(loaded, source, folder / f"{_stem(source)}.onnx" if output is None else output)
        if weight_bytes(finished.model) > PROTO_LIMIT_BYTES:
            raise OutputError(
                "the weights of the result exceed 2 GB", where="output", hint="use quantize_onnx_model"
            )
        return Result.of(finished, None if output is None else path, source, warnings)


def _stem(source: onnx.ModelProto | Path) -> str:
    """Return the name of the result in its report."""
    return f"{source.stem}.q" if isinstance(source, Path) else f"{source.graph.name or 'model'}.q"


def without_data(config: ConfigSource | None, settings: Mapping[str, Any], function: str) -> Config:
    """Return the configuration of a run that gets no data, so that `config` has to name files."""
    level = settings.get("precision_level", PrecisionLevel.ALL_OPERATORS)
    if config is None and level in (0, 1, 2):
        raise ConfigError(
            f"precision level {level} needs calibration samples",
            where="data",
            hint="give data, or a config that names files; levels 3, 4 and 100 need none",
        )
    return configuration(config, settings, None, function)


def samples_to_take(calibration: CalibrationParameters) -> int:
    """Return how many samples a run uses at most: those of calibration, and those that it is compared on."""
    return calibration.calibration_step + (calibration.comparison_samples or MOST_UNSEEN)


def entries_of(data: object, specs: Sequence[InputSpec], limit: int, folder: Path) -> list[dict[str, str]]:
    """Write samples into a folder; return the entries of a configuration that read them."""
    lists = write_samples(data, specs, limit, folder)
    return [_entry(name, str(path)) for name, path in lists.items()]


def unread_entries(specs: Sequence[InputSpec]) -> list[dict[str, str]]:
    """Return entries for a configuration whose samples are not read."""
    return [_entry(spec.name, "not read") for spec in specs]


def _entry(name: str, listing: str) -> dict[str, str]:
    return {"input_name": name, "file_type": "npy", "data_list_path": listing}


@contextmanager
def temporary_folder(parent: str | Path | None = None) -> Iterator[Path]:
    """Create a temporary folder that disappears at the end of the block."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(scratch_folder(None if parent is None else Path(parent)))
        except OSError as error:
            raise OutputError(
                f"cannot use the temporary folder: {error.strerror or error}",
                where=str(parent or "TMPDIR"),
                hint="spool= names another folder",
            ) from error
        yield folder
