"""``xslim tune``: say what accuracy is needed, and get the cheapest model that has it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from xslim.commands.metric import Metric, load_metric, measured
from xslim.commands.text import say, say_json
from xslim.config import ConfigSource
from xslim.errors import ConfigError
from xslim.files import is_scratch
from xslim.pipeline.paths import ModelArgument
from xslim.tuning import Goal, Measure, TuneOutcome, UserMetric, search_and_write
from xslim.tuning.page import sentences

MET, NOT_MET = 0, 3
MEASURES: tuple[Measure, ...] = ("sqnr", "cosine", "agreement")


def run(
    config: str,
    input_path: str | None,
    output_path: str | None,
    min_sqnr: float | None,
    min_cosine: float | None,
    min_agreement: float | None,
    metric: str | None,
    least: float | None,
    max_drop: float | None,
    time_limit: float | None,
    as_json: bool,
) -> int:
    """Tune and print what was found; return 3 if no model has what was wanted."""
    wanted = {"--min-sqnr": min_sqnr, "--min-cosine": min_cosine, "--min-agreement": min_agreement}
    rating = None if metric is None else load_metric(metric)
    goal = goal_of(wanted, rating is not None, least, max_drop)
    found = tune_model(
        config, input_path, output_path, goal, rating, max_drop, metric or "", seconds(time_limit)
    )
    if as_json:
        say_json(figures(found))
    else:
        say(*_lines(found), folded=True)
    return MET if found.tuned.met else NOT_MET


OPTIONS = ("--metric", "--min", "--max-drop")


def goal_of(
    wanted: Mapping[str, float | None],
    has_metric: bool,
    least: float | None,
    max_drop: float | None,
    names: tuple[str, str, str] = OPTIONS,
) -> Goal:
    """Return the goal that options describe.

    Parameters
    ----------
    wanted : mapping of str to float or None
        SQNR, cosine and agreement, in this order, by the names of their options.
    has_metric : bool
        Whether the user gives a metric.
    least, max_drop : float or None
        The goal of the metric.
    names : tuple of str
        The names of the options of the metric, for messages.

    Raises
    ------
    ConfigError
        The options contradict each other, or a value is impossible.
    """
    metric_name, least_name, drop_name = names
    given = {name: value for name, value in wanted.items() if value is not None}
    if len(given) + has_metric > 1:
        both = [*given, *([metric_name] if has_metric else [])]
        raise ConfigError(f"give one goal, not {' and '.join(both)}", where="tune")
    if not has_metric and (least is not None or max_drop is not None):
        name = least_name if least is not None else drop_name
        raise ConfigError(f"belongs to {metric_name}", where=name, hint="give the metric too")
    if has_metric and (least is None) == (max_drop is None):
        raise ConfigError(
            f"needs either {least_name} or {drop_name}",
            where=metric_name,
            hint=f"{drop_name} 0 allows no loss",
        )
    for name, value in {**given, least_name: least, drop_name: max_drop}.items():
        if value is not None and not math.isfinite(value):
            raise ConfigError(f"must be a finite number, got {value}", where=name)
    if max_drop is not None and max_drop < 0:
        raise ConfigError(f"must not be negative, got {max_drop:g}", where=drop_name)
    if has_metric:
        return Goal("metric", least)
    for measure, (name, value) in zip(MEASURES, wanted.items(), strict=True):
        if value is not None:
            if measure != "sqnr" and not 0 < value <= 1:
                raise ConfigError(f"must be above 0 and at most 1, got {value:g}", where=name)
            return Goal(measure, value)
    return Goal()


def seconds(minutes: float | None, where: str = "--time-limit") -> float | None:
    """Return minutes in seconds; refuse what is no positive number."""
    if minutes is None:
        return None
    if not minutes > 0:
        raise ConfigError(f"must be a positive number of minutes, got {minutes:g}", where=where)
    return 60.0 * minutes


def tune_model(
    config: ConfigSource,
    model: ModelArgument | None,
    output: str | Path | None,
    goal: Goal,
    metric: Metric | None = None,
    max_drop: float | None = None,
    metric_name: str = "",
    time_limit: float | None = None,
) -> TuneOutcome:
    """Call `search_and_write` with a metric of the user.

    `config`, `model`, `output`, `goal` and `time_limit` are its parameters.

    Parameters
    ----------
    metric : callable, optional
        The metric of the user.
    max_drop : float, optional
        How far the metric may fall below that of the float model.
    metric_name : str
        ``FILE.py:FUNCTION`` of the metric; trials of an earlier search count only if the file is the same.
    """
    user = None
    if metric is not None:
        user = UserMetric(partial(measured, metric), _identity(metric, metric_name), max_drop)
    return search_and_write(config, model, output, goal, user, time_limit)


def _identity(metric: Metric, name: str) -> str:
    file, _, _ = name.rpartition(":")
    if not file:
        # What a function of the user's program does is unknown, so its figures are not used again.
        return f"{id(metric)}"
    return f"{name} {hashlib.sha256(Path(file).read_bytes()).hexdigest()}"


def figures(found: TuneOutcome) -> dict[str, Any]:
    """Return what a search has found as plain data for JSON."""
    tuned = found.tuned
    return {
        "met": tuned.met,
        "measure": tuned.goal.measure,
        "wanted": tuned.goal.least,
        "value": _finite(tuned.goal.value(tuned.best)),
        "model": None if is_scratch(found.paths.model) else str(found.paths.model),
        "trials": [_plain(trial.as_json()) for trial in tuned.trials],
        "best": list(tuned.trials).index(tuned.best),
        "path": [
            {"predicted_db": stage.predicted_db, "float_share": stage.float_share, "islands": stage.islands}
            for stage in tuned.path
        ],
        "float_passes": tuned.passes,
        "timed_out": tuned.timed_out,
        "config": found.config,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return _finite(value)


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(found: TuneOutcome) -> Iterator[str]:
    tuned = found.tuned
    if tuned.goal.least is None:
        yield "measured trade-off:"
        for trial in sorted(tuned.trials, key=lambda trial: -trial.int8_share):
            yield f"  {trial.int8_share:6.1%} int8  {trial.worst_db:6.2f} dB  {trial.settings.words}"
    yield from sentences(tuned)
    passes = f", {tuned.passes:.0f} passes of the float model" if tuned.passes else ""
    yield f"{len(tuned.trials)} trials{passes}"
    yield f"wrote {found.paths.model}, and beside it _tuned.json (its configuration) and _tune.html (why)"
