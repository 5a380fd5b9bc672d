"""One trial: the settings that are tried, and the figures of the model that they give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from xslim.export.proof import OutputComparison

MOST_DB = 200.0


@dataclass(frozen=True)
class Settings:
    """What the search may change in a configuration.

    Attributes
    ----------
    finetune_level : int
        The effort of refinement.
    calibration_type : str
        The threshold method.
    float_tensors : tuple of str
        Tensors that stay float.
    """

    finetune_level: int
    calibration_type: str
    float_tensors: tuple[str, ...] = ()

    def changes(self) -> dict[str, dict[str, Any]]:
        """Return the settings as fields of a configuration, by section."""
        return {
            "calibration_parameters": {"calibration_type": self.calibration_type},
            "quantization_parameters": {
                "finetune_level": self.finetune_level,
                "float_tensors": list(self.float_tensors),
                # Whatever costs multiply-accumulates is decided by the search.
                "max_float_share": 0.0,
            },
        }

    @property
    def words(self) -> str:
        """The settings as text."""
        count = len(self.float_tensors)
        kept = f", {count} tensor{'s' if count > 1 else ''} float" if count else ""
        return f"level {self.finetune_level}, {self.calibration_type}{kept}"


@dataclass(frozen=True)
class Trial:
    """Settings and the figures of the model that they give.

    Attributes
    ----------
    settings : Settings
        What was tried.
    outputs : tuple of OutputComparison
        Every output against the float model, on the samples that calibration does not use.
    metric : float or None
        The user's metric.
    int8_share : float
        Share of the multiply-accumulates that are int8, 0 to 1.
    subgraphs : int
        Subgraphs that the operators of the target form.
    bytes : int
        Size of the model.
    seconds : float
        Time of the trial.
    """

    settings: Settings
    outputs: tuple[OutputComparison, ...]
    metric: float | None
    int8_share: float
    subgraphs: int
    bytes: int
    seconds: float

    @property
    def worst_db(self) -> float:
        """SQNR of the worst output in dB; outputs without error count as 200 dB."""
        return min((min(row.sqnr_db, MOST_DB) for row in self.outputs), default=MOST_DB)

    def as_json(self) -> dict[str, Any]:
        """Return plain data, from which `from_json` makes the trial again."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Trial:
        """Make a trial from the data of `as_json`."""
        given = data["settings"]
        settings = Settings(given["finetune_level"], given["calibration_type"], tuple(given["float_tensors"]))
        rows: Sequence[Mapping[str, Any]] = data["outputs"]
        return Trial(
            **{**data, "settings": settings, "outputs": tuple(OutputComparison(**row) for row in rows)}
        )
