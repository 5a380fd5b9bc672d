"""The search: what costs nothing first, then tensors that become float, cheapest first."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from xslim.config import Config
from xslim.errors import ConfigError
from xslim.progress import report
from xslim.refinement.effort import ENOUGH_DB
from xslim.tuning.goal import Goal
from xslim.tuning.path import Predictor, Stage, knee, pruned, trade_off
from xslim.tuning.record import Record
from xslim.tuning.trial import Settings, Trial
from xslim.tuning.workbench import Workbench

logger = logging.getLogger(__name__)

TUNING = "tuning"

ROUNDS, BISECTIONS = 3, 6
"""Largest number of candidates that are verified: where the noise predicts the measure, and where not."""
LEAST_FREE_GAIN_DB = 0.2
"""Least gain of a setting that costs nothing on the chip: smaller ones are chance."""
SAFETY_DB = 0.1
"""Added to what is wanted of a prediction."""
SPARE_DB = 0.5
"""A result that is this much better than wanted gives blocks back."""
HIGHEST_LEVEL = 2
"""Level 3 takes minutes for a few tenths of a decibel; who wants it says so in the configuration."""
REACH_DB = 1.5
"""Level 2 and other threshold methods are tried if no more than this is missing: on six models they gained
0.1 to 1 dB over level 1."""
OTHER_METHODS = ("mse", "minmax")


@dataclass(frozen=True)
class Tuned:
    """What a search has found.

    Attributes
    ----------
    goal : Goal
        What was wanted.
    best : Trial
        The cheapest trial that has it, or else the best one.
    met : bool
        Whether `best` has what was wanted; True without a goal.
    trials : tuple of Trial
        Every trial, in order.
    path : tuple of Stage
        The predicted trade-off; empty if it was not needed.
    stage : Stage or None
        The place of `best` on the path.
    offset_db : float
        Measured minus predicted SQNR, where both are known.
    passes : float
        Time of the search in passes of the float model over the calibration samples; 0 if unknown.
    timed_out : bool
        Whether the time limit ended the search.
    """

    goal: Goal
    best: Trial
    met: bool
    trials: tuple[Trial, ...]
    path: tuple[Stage, ...] = ()
    stage: Stage | None = None
    offset_db: float = 0.0
    passes: float = 0.0
    timed_out: bool = False


class _OutOfTimeError(Exception):
    """The time limit does not allow another trial."""


def tune_run(
    bench: Workbench, config: Config, goal: Goal, record: Record, time_limit: float | None = None
) -> Tuned:
    """Search the cheapest model that is accurate enough.

    Parameters
    ----------
    bench : Workbench
        Runs the trials.
    config : Config
        The configuration to start from.
    goal : Goal
        What is wanted.
    record : Record
        Trials of an earlier search, which are not run again.
    time_limit : float, optional
        Seconds after which no trial begins.

    Returns
    -------
    Tuned
        The result.
    """
    search = _Search(bench, config, goal, record, time_limit)
    try:
        search.run()
    except _OutOfTimeError:
        search.timed_out = True
        logger.warning("the time limit ends the search; the best result so far is written")
    return search.result()


class _Search:
    def __init__(
        self, bench: Workbench, config: Config, goal: Goal, record: Record, time_limit: float | None
    ) -> None:
        self._bench, self._goal, self._record = bench, goal, record
        quantization = config.quantization_parameters
        self._start = Settings(
            int(quantization.finetune_level),
            config.calibration_parameters.calibration_type,
            quantization.float_tensors,
        )
        self._began, self._limit = time.monotonic(), time_limit
        self._trials: list[Trial] = []
        self._path: list[Stage] = []
        self._stages: dict[Settings, Stage] = {}
        self._offset = 0.0
        self.timed_out = False

    def run(self) -> None:
        """Try settings that cost nothing, then blocks that become float."""
        goal = self._goal
        best = self._try(self._start, "as configured")
        _require_measure(goal, best)
        if goal.is_met(best):
            return
        self._say_cost(best)
        if goal.least is not None:
            for settings in self._free_settings(best):
                trial = self._try(settings, "costs nothing on the chip")
                if goal.is_met(trial):
                    return
                if self._is_better(trial, best):
                    best = trial
        predictor = self._landscape(best)
        wanted = self._wanted_db(best)
        self._path = trade_off(predictor, wanted)
        # Loud quantisers partly cancel, so the prediction is too low at first and better once they are float.
        offset = goal.db(best) - self._path[0].predicted_db
        self._offset = offset if offset < 0 else offset / 2.0
        self._stages[best.settings] = self._path[0]
        logger.info("%d blocks may become float", len(self._path) - 1)
        if len(self._path) == 1:
            return
        if goal.least is None:
            self._verify_knee(predictor, best)
        elif goal.is_predictable:
            self._follow_prediction(predictor, best)
        else:
            self._bisect(predictor, best)

    def result(self) -> Tuned:
        """Return the cheapest trial that meets the goal, or the best one."""
        goal = self._goal
        met = [trial for trial in self._trials if goal.is_met(trial)]
        if goal.least is None:
            best = self._trials[0] if self._trials[0].worst_db >= ENOUGH_DB else self._trials[-1]
        elif met:
            best = max(met, key=lambda trial: (trial.int8_share, -trial.subgraphs, goal.value(trial)))
        else:
            best = max(self._trials, key=goal.value)
        bare = self._bench.seconds_per_sample * self._bench.calibration_samples
        return Tuned(
            goal=goal,
            best=best,
            met=bool(met) or goal.least is None,
            trials=tuple(self._trials),
            path=tuple(self._path),
            stage=self._stages.get(best.settings),
            offset_db=self._offset,
            passes=(time.monotonic() - self._began) / bare if bare else 0.0,
            timed_out=self.timed_out,
        )

    def _free_settings(self, start: Trial) -> Iterator[Settings]:
        if start.settings.finetune_level == 0:
            yield replace(start.settings, finetune_level=1)
        best = max(self._trials, key=self._goal.value)
        least = self._goal.least_db
        if least is not None and self._goal.db(best) < least - REACH_DB:
            return
        if best.settings.finetune_level < HIGHEST_LEVEL:
            yield replace(best.settings, finetune_level=HIGHEST_LEVEL)
            best = max(self._trials, key=self._goal.value)
        for method in OTHER_METHODS:
            if method != best.settings.calibration_type:
                yield replace(best.settings, calibration_type=method)

    def _is_better(self, trial: Trial, best: Trial) -> bool:
        if self._goal.is_predictable:
            return self._goal.db(trial) >= self._goal.db(best) + LEAST_FREE_GAIN_DB
        return self._goal.value(trial) > self._goal.value(best)

    def _landscape(self, best: Trial) -> Predictor:
        found = self._record.landscape(best.settings)
        if found is None:
            self._require_time(best.seconds)
            logger.info("measuring what every quantiser of %s adds to the error", best.settings.words)
            found = self._bench.landscape(best.settings)
            self._record.add_landscape(best.settings, found)
        return Predictor(found)

    def _wanted_db(self, best: Trial) -> float | None:
        """Return the predicted SQNR to which the path has to go."""
        least = self._goal.least_db
        return None if least is None else max(least, self._goal.db(best))

    def _follow_prediction(self, predictor: Predictor, best: Trial) -> None:
        least = self._goal.least_db
        assert least is not None
        offset, failed = self._offset, -1
        for _ in range(ROUNDS):
            needed = least - offset + SAFETY_DB
            place = next(
                (n for n, stage in enumerate(self._path) if n > failed and stage.predicted_db >= needed), None
            )
            if place is None:
                place = len(self._path) - 1
                if place == failed:
                    return
            failed = place
            stage = pruned(predictor, self._path[place], min(needed, self._path[place].predicted_db))
            trial = self._try_stage(predictor, best, stage)
            offset = self._goal.db(trial) - stage.predicted_db
            if self._goal.is_met(trial):
                self._give_back(predictor, best, stage, offset, least)
                return

    def _give_back(
        self, predictor: Predictor, best: Trial, stage: Stage, offset: float, least: float
    ) -> None:
        """Leave out the blocks that turned out unnecessary."""
        if stage.predicted_db + offset < least + SPARE_DB:
            return
        smaller = pruned(predictor, stage, least - offset + SAFETY_DB)
        if smaller.blocks != stage.blocks:
            self._try_stage(predictor, best, smaller)

    def _bisect(self, predictor: Predictor, best: Trial) -> None:
        """Find the first stage of the path that has what is wanted, by halving."""
        low, high = 0, len(self._path)
        place = max(1, knee(self._path))
        for _ in range(BISECTIONS):
            trial = self._try_stage(predictor, best, self._path[place])
            if self._goal.is_met(trial):
                high = place
            else:
                low = place
            if high - low <= 1:
                return
            place = _middle(self._path, low, high)

    def _verify_knee(self, predictor: Predictor, best: Trial) -> None:
        """Run a few points of the curve, the recommended one last."""
        recommended = knee(self._path)
        last = len(self._path) - 1
        for place in dict.fromkeys((recommended // 2, (recommended + last + 1) // 2, recommended)):
            if 0 < place <= last:
                self._try_stage(predictor, best, self._path[place])

    def _try_stage(self, predictor: Predictor, best: Trial, stage: Stage) -> Trial:
        names = dict.fromkeys([*best.settings.float_tensors, *predictor.tensors(stage.blocks)])
        settings = replace(best.settings, float_tensors=tuple(names))
        self._stages[settings] = stage
        return self._try(settings, f"predicted {stage.predicted_db + self._offset:.2f} dB")

    def _try(self, settings: Settings, why: str) -> Trial:
        known = next((trial for trial in self._trials if trial.settings == settings), None)
        if known is not None:
            return known
        trial = self._record.trial(settings)
        if trial is None:
            self._require_time(max((trial.seconds for trial in self._trials), default=0.0))
            report(TUNING, len(self._trials), len(self._trials) + 1)
            trial = self._bench.trial(settings)
            self._record.add(trial)
        self._trials.append(trial)
        logger.info(
            "trial %d: %s (%s): %s, %.1f %% int8, %.1f s",
            len(self._trials),
            settings.words,
            why,
            self._goal.words(self._goal.value(trial)),
            100.0 * trial.int8_share,
            trial.seconds,
        )
        return trial

    def _require_time(self, seconds: float) -> None:
        if self._limit is None or not self._trials:
            return
        # The best model is made once more at the end.
        if time.monotonic() - self._began + 2.0 * seconds > self._limit:
            raise _OutOfTimeError

    def _say_cost(self, first: Trial) -> None:
        most = 2 + (BISECTIONS if not self._goal.is_predictable else ROUNDS) + 4
        bare = self._bench.seconds_per_sample * self._bench.calibration_samples
        passes = f", {most * first.seconds / bare:.0f} passes of the float model" if bare else ""
        logger.info(
            "a search takes at most %d trials like this one: about %.0f minutes%s",
            most,
            max(1.0, most * first.seconds / 60.0),
            passes,
        )


def _require_measure(goal: Goal, trial: Trial) -> None:
    """Refuse a goal that no output of the model can be measured by."""
    if goal.measure == "metric":
        return
    if not trial.outputs:
        raise ConfigError(
            "no output of the model can be compared with the float model", where="tune", hint="give a metric"
        )
    if goal.measure == "agreement" and all(row.top1_agreement is None for row in trial.outputs):
        raise ConfigError(
            "no output has the shape (rows, classes)",
            where="agreement",
            hint="ask for an SQNR or a cosine, or give a metric",
        )


def _middle(path: Sequence[Stage], low: int, high: int) -> int:
    """Return the stage between two others, in the middle of the predicted decibels."""
    top = path[min(high, len(path) - 1)].predicted_db
    place = _nearest(path, (path[low].predicted_db + top) / 2.0, low + 1)
    return min(max(place, low + 1), high - 1)


def _nearest(path: Sequence[Stage], wanted: float, first: int) -> int:
    return next(
        (place for place in range(first, len(path)) if path[place].predicted_db >= wanted), len(path) - 1
    )
