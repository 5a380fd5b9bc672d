"""Errors that XSlim raises: each says what is wrong, where, and what to do."""

from __future__ import annotations

REPORT = "a defect of XSlim: report it with the output of --debug"


class XSlimError(Exception):
    """Base class of all errors that XSlim raises on purpose.

    Parameters
    ----------
    what : str
        What is wrong, one sentence without a full stop.
    where : str, optional
        The place: a file and line, a config path, a node or tensor name.
    hint : str, optional
        What the user can do about it.

    Attributes
    ----------
    exit_code : int
        Exit status of the command line: 2 for bad input, 1 for an internal failure.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        self.what = what
        self.where = where
        self.hint = hint
        super().__init__(what)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        advice = f" ({self.hint})" if self.hint else ""
        return f"{place}{self.what}{advice}"


class ConfigError(XSlimError):
    """The configuration is wrong: a field, a combination of fields, or the JSON itself."""


class DataError(XSlimError):
    """A calibration list, a calibration file or a preprocessing function is wrong."""


class ModelError(XSlimError):
    """The model cannot be read, is not valid ONNX, or cannot be quantised."""


class CrashError(ModelError):
    """The process in which onnxruntime loaded or ran the model died."""


class LimitError(XSlimError):
    """Loading or running a model takes more time or memory than it may."""


class OutputError(XSlimError):
    """An output file or folder cannot be written."""


class InternalError(XSlimError):
    """XSlim produced something wrong; the user's input is not to blame."""

    exit_code = 1

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what, where=where, hint=hint or REPORT)
