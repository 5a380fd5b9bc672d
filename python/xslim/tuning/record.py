"""What a search has found so far, kept in a file, so that a later search goes on from there."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path

from xslim.errors import OutputError
from xslim.files import write_whole
from xslim.tuning.landscape import Landscape
from xslim.tuning.trial import Settings, Trial

logger = logging.getLogger(__name__)


@dataclass
class Record:
    """Trials and measurements of one model with one configuration and one set of samples.

    Attributes
    ----------
    path : Path or None
        The file; None to keep nothing.
    key : str
        Hash of everything that the figures depend on, except the metric.
    metric : str
        The metric of the user: trials that were rated by another one count as not rated.
    """

    path: Path | None
    key: str
    metric: str
    trials: list[Trial] = field(default_factory=list)
    landscapes: dict[str, Landscape] = field(default_factory=dict)

    @staticmethod
    def opened(path: Path | None, key: str, metric: str) -> Record:
        """Return what the file holds for this key, or an empty record."""
        record = Record(path, key, metric)
        if path is None or not path.is_file():
            return record
        try:
            data = json.loads(path.read_text("utf-8"))
            if data.get("key") != key:
                return record
            record.landscapes = {
                name: Landscape.from_json(found) for name, found in data["landscapes"].items()
            }
            if data["metric"] == metric:
                record.trials = [Trial.from_json(trial) for trial in data["trials"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s is not used: %s", path, error)
            return Record(path, key, metric)
        if record.trials:
            logger.info("going on from %d trials in %s", len(record.trials), path)
        return record

    def trial(self, settings: Settings) -> Trial | None:
        """Return the trial of settings, if there is one."""
        return next((trial for trial in self.trials if trial.settings == settings), None)

    def add(self, trial: Trial) -> None:
        """Keep a trial."""
        self.trials.append(trial)
        self.save()

    def landscape(self, settings: Settings) -> Landscape | None:
        """Return the measured noise for settings, if there is any."""
        return self.landscapes.get(_name(settings))

    def add_landscape(self, settings: Settings, landscape: Landscape) -> None:
        """Keep the measured noise."""
        self.landscapes[_name(settings)] = landscape
        self.save()

    def save(self) -> None:
        """Write the file; a search goes on without it."""
        if self.path is None:
            return
        data = {
            "key": self.key,
            "metric": self.metric,
            "trials": [trial.as_json() for trial in self.trials],
            "landscapes": {name: found.as_json() for name, found in self.landscapes.items()},
        }
        try:
            write_whole(self.path, json.dumps(data) + "\n")
        except OutputError as error:
            logger.warning("an interrupted search will begin anew: %s", error)


def _name(settings: Settings) -> str:
    return hashlib.sha256(json.dumps(asdict(settings)).encode()).hexdigest()[:16]
