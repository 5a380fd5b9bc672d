"""What the sub-commands do, as functions that return objects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xslim.commands.check import ProviderCheck, check_model
from xslim.commands.collect import collect_shard
from xslim.commands.compare import USUAL_COUNT, ModelComparison, compare_models
from xslim.commands.info import ModelInfo, inspect_model
from xslim.commands.labels import read_labels
from xslim.commands.metric import Metric
from xslim.commands.plan import PlanSummary, plan_run
from xslim.config import CalibrationParameters, ConfigSource
from xslim.errors import ConfigError
from xslim.graph.inputs import input_specs
from xslim.graph.io import load_model
from xslim.library.models import ModelLike, source_of
from xslim.library.options import configuration
from xslim.library.progress import warnings_collected
from xslim.library.quantize import entries_of, temporary_folder, unread_entries
from xslim.library.result import Result
from xslim.pipeline.paths import model_source
from xslim.pipeline.run import run

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from xslim.library.options import Options


def plan(model: ModelLike, *, config: ConfigSource | None = None, **options: Unpack[Options]) -> PlanSummary:
    """Return which operators would become int8, and why, without samples and without running the model.

    Parameters
    ----------
    model : str, Path, onnx.ModelProto or onnx_ir.Model
        The float model.
    config : dict, str, Path or Config, optional
        A configuration.
    **options
        As for `xslim.quantize`.

    Returns
    -------
    PlanSummary
        Operators, groups, constants, and figures; ``as_json()`` is what ``xslim plan --json`` prints.

    Raises
    ------
    XSlimError
        The model cannot be read, or the configuration is wrong.
    """
    source = source_of(model)
    entries = unread_entries(input_specs(load_model(source))) if config is None else None
    return plan_run(configuration(config, options, entries), source, written=False)[0]


def check(model: ModelLike, target: str = "spacemit") -> ProviderCheck:
    """Return what the execution provider of a target does with a model, quantised or not.

    Parameters
    ----------
    model : str, Path, onnx.ModelProto or onnx_ir.Model
        The model.
    target : str
        ``spacemit``, ``generic``, or the path of a TOML table.

    Returns
    -------
    ProviderCheck
        Operators that the target takes, patterns that do not fuse, shares and subgraphs.

    Raises
    ------
    XSlimError
        The model cannot be read or run, or there is no such target.
    """
    return check_model(source_of(model), target)


def compare(
    first: ModelLike,
    second: ModelLike,
    data: object = None,
    *,
    samples: int | None = None,
    metric: Metric | None = None,
    labels: str | Path | Sequence[int] | NDArray[np.integer] | None = None,
    boxes: str | None = None,
) -> ModelComparison:
    """Run two models on the same samples and compare their outputs.

    Parameters
    ----------
    first, second : str, Path, onnx.ModelProto or onnx_ir.Model
        The models; the first is the reference.
    data : object, optional
        Samples as for `xslim.quantize`, or the path of a configuration, a list, a folder or an ``.npz`` file.
        Without data, one random sample.
    samples : int, optional
        Largest number of samples; by default all that have labels, or 16 without labels.
    metric : callable, optional
        A rating of one's own: called with a function ``run(feeds)``, which runs a model on a dict of arrays
        and returns a dict of its outputs, the metric returns a number; bigger is better.
    labels : str, Path, sequence of int or array, optional
        The true classes: class numbers in the order of the samples, or the path of a list of labels, of an
        ``.npy`` file of numbers, or of a folder with one sub-folder for each class.
    boxes : str, optional
        Layout of the head of a detector: ``auto``, ``yolov8``, ``yolov5``, ``yolox`` or ``end2end``. The
        boxes of the second model are then compared with those of the first.

    Returns
    -------
    ModelComparison
        One row per output; the metric, the accuracy and the boxes of both models; ``as_json()`` is what the
        command prints.

    Raises
    ------
    XSlimError
        A model, a sample, a label or the metric is wrong.
    """
    if samples is not None and samples < 1:
        raise ConfigError("must be at least 1", where="samples")
    a, b = source_of(first), source_of(second)
    classes = None if labels is None else read_labels(labels)
    if data is None or isinstance(data, (str, Path)):
        place = None if data is None else Path(data)
        return compare_models(a, b, place, samples, metric, labels=classes, boxes=boxes)
    specs = input_specs(load_model(a))
    usual = USUAL_COUNT if classes is None else len(classes.numbers) + 1
    limit = usual if samples is None else samples
    with temporary_folder() as folder:
        entries = entries_of(data, specs, limit, folder)
        parameters = CalibrationParameters.model_validate({"input_parameters": entries})
        return compare_models(a, b, parameters, samples, metric, labels=classes, boxes=boxes)


def info(model: ModelLike) -> ModelInfo:
    """Return inputs, outputs, operators, parameters and cost of a model.

    Parameters
    ----------
    model : str, Path, onnx.ModelProto or onnx_ir.Model
        Any model.

    Returns
    -------
    ModelInfo

    Raises
    ------
    ModelError
        The model cannot be read.
    """
    return inspect_model(source_of(model))


def collect(config: ConfigSource, output: str | Path, *, shard: tuple[int, int] = (0, 1)) -> Path:
    """Calibrate on a part of the samples and write the sketches, for `merge`.

    Parameters
    ----------
    config : dict, str, Path or Config
        The configuration of the whole run.
    output : str or Path
        The sketch file to write.
    shard : pair of int
        ``(index, count)`` with the index from 0: every `count`-th sample is observed.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    XSlimError
        Bad input, or a file that cannot be written.
    """
    pair = isinstance(shard, tuple) and len(shard) == 2 and all(isinstance(item, int) for item in shard)
    index, count = shard if pair else (0, 0)
    if not 0 <= index < count:
        raise ConfigError(f"{shard} is not (index, count) with the index below the count", where="shard")
    return collect_shard(config, (index, count), output)


def merge(
    config: ConfigSource, sketches: str | Path | Sequence[str | Path], output: str | Path | None = None
) -> Result:
    """Quantise with the sketches of all shards, without another calibration pass.

    Parameters
    ----------
    config : dict, str, Path or Config
        The configuration that the sketches were collected with.
    sketches : sequence of str or Path
        The files of `collect`, every shard once; one path if there is one shard.
    output : str or Path, optional
        A ``.onnx`` file or a folder; by default the place that the configuration names.

    Returns
    -------
    Result
        The result of the run; equal to that of an undivided run.

    Raises
    ------
    XSlimError
        Bad input, or shards that do not belong together.
    """
    files = [sketches] if isinstance(sketches, (str, Path)) else sketches
    loaded = configuration(config, {}, None)
    with warnings_collected() as warnings:
        finished, path = run(loaded, None, output, files)
    return Result.of(finished, path, model_source(loaded, None), warnings)
