"""`xslim.tune`: the cheapest model that is as accurate as needed, with data from memory or from files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xslim.commands.metric import Metric
from xslim.commands.tune import figures, goal_of, seconds, tune_model
from xslim.config import CalibrationParameters, ConfigSource
from xslim.graph.inputs import input_specs
from xslim.graph.io import load_model
from xslim.library.models import ModelLike, source_of
from xslim.library.options import configuration
from xslim.library.progress import showing, warnings_collected
from xslim.library.quantize import entries_of, temporary_folder, unread_entries, without_data
from xslim.library.result import Language, Result
from xslim.progress import Listener
from xslim.texts import language_of
from xslim.tuning import Trial, TuneOutcome
from xslim.tuning.page import to_html, to_markdown
from xslim.tuning.run import COMPARED

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from xslim.library.options import Options


@dataclass(frozen=True)
class TuneResult:
    """The result of `xslim.tune`.

    Attributes
    ----------
    result : Result
        The model, and the numbers behind the model.
    met : bool
        Whether the model has what was wanted.
    value : float
        What was wanted to be high: SQNR in dB, cosine or agreement of the worst output, or the metric.
    config : dict
        The configuration that gives the model again; without the entries of data from memory.
    """

    result: Result
    met: bool
    value: float
    config: dict[str, Any] = field(repr=False)
    _outcome: TuneOutcome = field(repr=False)

    @property
    def trials(self) -> Sequence[Trial]:
        """Every trial, with its settings, outputs, metric, int8 share, subgraphs, size and time."""
        return self._outcome.tuned.trials

    def as_json(self) -> dict[str, Any]:
        """Return plain data for JSON: what ``xslim tune --json`` prints."""
        return figures(self._outcome)

    def to_html(self, language: Language | None = None) -> str:
        """Return the report of the search as an HTML page; by default in the language of the locale."""
        return to_html(self._outcome.tuned, self._outcome.paths.prefix, language_of(language))

    def to_markdown(self, language: Language | None = None) -> str:
        """Return the report of the search as Markdown; by default in the language of the locale."""
        return to_markdown(self._outcome.tuned, self._outcome.paths.prefix, language_of(language))


def tune(
    model: ModelLike,
    data: object = None,
    *,
    min_sqnr: float | None = None,
    min_cosine: float | None = None,
    min_agreement: float | None = None,
    metric: Metric | None = None,
    min_metric: float | None = None,
    max_drop: float | None = None,
    config: ConfigSource | None = None,
    output: str | Path | None = None,
    time_limit: float | None = None,
    progress: bool | Listener | None = None,
    spool: str | Path | None = None,
    **options: Unpack[Options],
) -> TuneResult:
    """Search the cheapest model that is as accurate as needed.

    Parameters
    ----------
    model : str, Path, onnx.ModelProto or onnx_ir.Model
        The float model.
    data : object, optional
        Samples as for `xslim.quantize`. The first ``calibration_step`` calibrate, up to 32 further ones, or
        else a quarter of the samples, rate every trial.
    min_sqnr : float, optional
        SQNR in dB that the worst output needs.
    min_cosine : float, optional
        Cosine that the worst output needs, above 0 and at most 1.
    min_agreement : float, optional
        Share of the samples whose top-1 answer has to stay, above 0 and at most 1.
    metric : callable, optional
        A rating of one's own, as for `xslim.compare`; bigger is better.
    min_metric, max_drop : float, optional
        The value that the metric needs, or how far it may fall below that of the float model.
    config : dict, str, Path or Config, optional
        A configuration to start from.
    output : str or Path, optional
        A ``.onnx`` file or a folder. Without it, nothing is written.
    time_limit : float, optional
        Minutes after which no trial begins.
    progress : bool or callable, optional
        True shows a bar; a callable gets ``(phase, done, total)``.
    spool : str or Path, optional
        Folder in which the samples are kept during the search.
    **options
        Fields of the configuration, as for `xslim.quantize`.

    Returns
    -------
    TuneResult
        The best model. Without a goal, the recommended point of the trade-off.

    Raises
    ------
    XSlimError
        Bad input, a goal that contradicts another one, or a metric that fails.
    """
    wanted = {"min_sqnr": min_sqnr, "min_cosine": min_cosine, "min_agreement": min_agreement}
    goal = goal_of(
        wanted, metric is not None, min_metric, max_drop, names=("metric", "min_metric", "max_drop")
    )
    source = source_of(model)
    limit = seconds(time_limit, "time_limit")
    with temporary_folder(spool) as folder, showing(progress), warnings_collected() as warnings:
        if data is None:
            loaded = without_data(config, options, "xslim.tune")
        else:
            specs = input_specs(load_model(source))
            checked = configuration(
                config, options, unread_entries(specs), "xslim.tune"
            ).calibration_parameters
            entries = entries_of(data, specs, _samples(checked), folder)
            loaded = configuration(config, options, entries)
        stem = source.stem if isinstance(source, Path) else "model"
        place = folder / f"{stem}.q.onnx" if output is None else output
        found = tune_model(loaded, source, place, goal, metric, max_drop, "", limit)
        path = None if output is None else found.paths.model
        result = Result.of(found.finished, path, source, warnings)
        best = found.tuned
        return TuneResult(result, best.met, best.goal.value(best.best), dict(found.config), found)


def _samples(calibration: CalibrationParameters) -> int:
    return calibration.calibration_step + (calibration.comparison_samples or COMPARED)
