"""One search from the configuration to the files: model, configuration, figures and report."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xslim.calibration.data import CalibrationData
from xslim.calibration.fingerprint import calibration_key
from xslim.config import Config, ConfigSource, load_config, portable, without_spooled
from xslim.errors import ConfigError
from xslim.files import scratch_folder, write_whole
from xslim.graph.inputs import input_specs
from xslim.pipeline.paths import ModelArgument, OutputPaths, model_source, output_paths
from xslim.pipeline.progress import shown_progress
from xslim.pipeline.protect import load_protected, prepare_files
from xslim.pipeline.result import Finished
from xslim.pipeline.run import run
from xslim.runtime import Isolated, Runs
from xslim.targets import target_of
from xslim.texts import language_of
from xslim.tuning.goal import Goal
from xslim.tuning.page import to_html, to_markdown
from xslim.tuning.record import Record
from xslim.tuning.search import Tuned, tune_run
from xslim.tuning.trial import Settings
from xslim.tuning.workbench import Workbench

logger = logging.getLogger(__name__)

FIGURES, CONFIG, PAGE, TEXT = "_tune.json", "_tuned.json", "_tune.html", "_tune.md"

COMPARED = 32
"""Samples that rate a trial, if the configuration does not say how many. With 8, the score of small outputs
is not monotone."""

SEARCHED = ("finetune_level", "calibration_type", "float_tensors", "max_float_share", "analysis_enable")
"""Fields that the search sets itself, so that earlier trials hold whatever they are."""


@dataclass(frozen=True)
class UserMetric:
    """The metric of the user.

    Attributes
    ----------
    rate : callable
        Returns the metric for the model of a session.
    name : str
        Distinguishes this metric from others in the record of trials.
    max_drop : float or None
        The goal as a distance from the metric of the float model.
    """

    rate: Callable[[Runs], float]
    name: str
    max_drop: float | None = None


@dataclass(frozen=True)
class TuneOutcome:
    """The result of a search and its files.

    Attributes
    ----------
    tuned : Tuned
        What was found.
    config : dict
        The configuration that gives the model.
    finished : Finished
        The run of this configuration.
    paths : OutputPaths
        Where the files are.
    """

    tuned: Tuned
    config: dict[str, Any]
    finished: Finished
    paths: OutputPaths


def search_and_write(
    config_or_path: ConfigSource,
    model: ModelArgument | None,
    output: str | Path | None,
    goal: Goal,
    metric: UserMetric | None = None,
    time_limit: float | None = None,
) -> TuneOutcome:
    """Search the cheapest model that is accurate enough, and write it.

    Parameters
    ----------
    config_or_path : dict, str, Path or Config
        The configuration to start from.
    model : ModelProto, str or Path, optional
        The model; by default the one that the configuration names.
    output : str or Path, optional
        A ``.onnx`` file or a folder, as for a run.
    goal : Goal
        What is wanted.
    metric : UserMetric, optional
        The metric of the user; needed if the goal is a metric.
    time_limit : float, optional
        Seconds after which no trial begins.

    Raises
    ------
    XSlimError
        Bad input.
    """
    config = _with_comparison(load_config(config_or_path))
    source = model_source(config, model)
    file = source if isinstance(source, Path) else None
    paths = output_paths(config, file, output, given=model is not None)
    extra = [paths.beside(suffix) for suffix in (FIGURES, CONFIG, PAGE, TEXT)]
    with shown_progress(), Isolated() as isolated, scratch_folder() as folder:
        loaded = load_protected(config, source, [*paths.files(config), *extra], paths.reports(config))
        bench = Workbench(loaded, source, config, folder, isolated, metric.rate if metric else None)
        record = Record.opened(paths.beside(FIGURES), _key(bench, config), metric.name if metric else "")
        if metric is not None:
            goal = _with_float_model(goal, bench.float_metric(), metric.max_drop)
        tuned = tune_run(bench, config, goal, record, time_limit)
    written = _written(config, tuned.best.settings, file, paths)
    final = load_config(config, changes=tuned.best.settings.changes())
    finished, _ = run(final, source, paths.model)
    language = language_of(config.quantization_parameters.report_language)
    prepare_files(extra)
    write_whole(paths.beside(CONFIG), json.dumps(written, indent=2) + "\n")
    write_whole(paths.beside(TEXT), to_markdown(tuned, paths.prefix, language))
    write_whole(paths.beside(PAGE), to_html(tuned, paths.prefix, language))
    return TuneOutcome(tuned, written, finished, paths)


def _with_comparison(config: Config) -> Config:
    """Return the configuration with enough samples to compare on; refuse one without calibration."""
    level = config.quantization_parameters.precision_level
    if not level.is_static:
        raise ConfigError(
            f"there is nothing to tune at precision level {level}",
            where="quantization_parameters.precision_level",
            hint="levels 0, 1 and 2 calibrate",
        )
    target_of(config)
    if config.calibration_parameters.comparison_samples is not None:
        return config
    return load_config(config, changes={"calibration_parameters": {"comparison_samples": COMPARED}})


def _with_float_model(goal: Goal, value: float, max_drop: float | None) -> Goal:
    """Return the goal for a metric, of which the float model has the given value."""
    logger.info("the float model has %s", goal.words(value))
    if max_drop is not None:
        return Goal(goal.measure, value - max_drop)
    if goal.least is not None and goal.least > value:
        raise ConfigError(
            f"the float model itself has {value:.6g}, but {goal.least:.6g} is wanted",
            where="metric",
            hint="ask for less, or for a largest drop below the float model",
        )
    return goal


def _key(bench: Workbench, config: Config) -> str:
    """Hash what the figures of trials depend on."""
    from xslim import __version__

    data = CalibrationData(input_specs(bench.prepared), config.calibration_parameters, config.base_dir)
    keys = [calibration_key(bench.prepared, (), data)]
    beyond = [source.beyond or source.entries for source in data.sources]
    if any(source.beyond for source in data.sources):
        keys.append(calibration_key(bench.prepared, (), data.of_entries(beyond)))
    fields = {
        **config.calibration_parameters.model_dump(mode="json", exclude={"input_parameters"}),
        **config.quantization_parameters.model_dump(mode="json"),
    }
    kept = {name: value for name, value in fields.items() if name not in SEARCHED}
    return hashlib.sha256(json.dumps([__version__, keys, kept], sort_keys=True).encode()).hexdigest()


def _written(config: Config, settings: Settings, model: Path | None, paths: OutputPaths) -> dict[str, Any]:
    """Return the configuration that gives the tuned model."""
    raw = portable(load_config(config, changes=settings.changes()))
    place = {"output_prefix": paths.prefix, "working_dir": str(paths.folder)}
    if model is not None:
        place["onnx_model"] = str(model.absolute())
    raw["model_parameters"] = {**raw.get("model_parameters", {}), **place}
    return without_spooled(_json_ready(raw))


def _json_ready(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields as JSON has them; what JSON lacks, such as a function, becomes its name."""
    text = json.dumps(fields, default=lambda item: getattr(item, "__qualname__", str(item)))
    found: dict[str, Any] = json.loads(text)
    return found
