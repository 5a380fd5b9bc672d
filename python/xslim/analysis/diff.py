"""Compare two stored reports: what became better, what became worse, and what stayed float."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xslim.analysis.facts import FloatOperator
from xslim.analysis.stored import StoredReport, StoredTensor

LEAST_DB = 0.5
"""Change in dB that counts. Other samples, or another order of them, change an SQNR by less."""


@dataclass(frozen=True)
class Change:
    """The SQNR of one output or tensor in both reports.

    Attributes
    ----------
    name : str
        The output or tensor.
    before, after : float
        SQNR in dB in the first and in the second report; infinite without noise.
    operator : str
        The operator of a tensor, with its type.
    local_before, local_after : float or None
        SQNR of the operator alone; None for outputs.
    """

    name: str
    before: float
    after: float
    operator: str = ""
    local_before: float | None = None
    local_after: float | None = None

    @property
    def gain(self) -> float:
        """The difference in dB; positive is better."""
        return 0.0 if self.before == self.after else self.after - self.before


@dataclass(frozen=True)
class Setting:
    """One field of the configuration with different values; None where a report does not have it."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True)
class ReportDiff:
    """The difference of two reports.

    Attributes
    ----------
    first, second : str
        Names of the results.
    int8_operators, operators : pair of int
        In the first and in the second report.
    compared_samples : pair of int
        Number of samples on which the figures of each report were measured.
    outputs : tuple of Change
        The outputs of both.
    better, worse : tuple of Change
        Tensors that changed by `LEAST_DB` and more, the largest change first.
    similar : int
        Number of other tensors of both.
    only_first, only_second : tuple of str
        Tensors that are int8 in one report only.
    became_float, became_int8 : tuple of FloatOperator
        Operators that are float in the second report only, and in the first one only.
    settings : tuple of Setting
        What differs in the configurations.
    """

    first: str
    second: str
    int8_operators: tuple[int, int]
    operators: tuple[int, int]
    compared_samples: tuple[int, int]
    outputs: tuple[Change, ...]
    better: tuple[Change, ...]
    worse: tuple[Change, ...]
    similar: int
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    became_float: tuple[FloatOperator, ...]
    became_int8: tuple[FloatOperator, ...]
    settings: tuple[Setting, ...]


def compare_reports(first: StoredReport, second: StoredReport) -> ReportDiff:
    """Compare two reports, tensor by tensor and by name."""
    changes = [
        _change(first.tensors[name], row) for name, row in second.tensors.items() if name in first.tensors
    ]
    better = sorted(
        (item for item in changes if item.gain >= LEAST_DB), key=lambda item: (-item.gain, item.name)
    )
    worse = sorted(
        (item for item in changes if item.gain <= -LEAST_DB), key=lambda item: (item.gain, item.name)
    )
    outputs = (
        Change(name, level, second.outputs[name])
        for name, level in first.outputs.items()
        if name in second.outputs
    )
    return ReportDiff(
        first=first.name,
        second=second.name,
        int8_operators=(first.int8_operators, second.int8_operators),
        operators=(first.operators, second.operators),
        compared_samples=(first.samples, second.samples),
        outputs=tuple(outputs),
        better=tuple(better),
        worse=tuple(worse),
        similar=len(changes) - len(better) - len(worse),
        only_first=tuple(name for name in first.tensors if name not in second.tensors),
        only_second=tuple(name for name in second.tensors if name not in first.tensors),
        became_float=_only_in(second, first),
        became_int8=_only_in(first, second),
        settings=tuple(_settings(first.config, second.config)),
    )


def _change(before: StoredTensor, after: StoredTensor) -> Change:
    operator = f"{after.op_name} ({after.op_type})" if after.op_name else after.op_type
    return Change(before.name, before.accumulated, after.accumulated, operator, before.local, after.local)


def _only_in(report: StoredReport, other: StoredReport) -> tuple[FloatOperator, ...]:
    """Return the float operators of one report that are not float in the other; none if one lists none."""
    if report.float_operators is None or other.float_operators is None:
        return ()
    known = {operator.name for operator in other.float_operators}
    return tuple(operator for operator in report.float_operators if operator.name not in known)


def _settings(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Setting]:
    before, after = dict(_fields(first, "")), dict(_fields(second, ""))
    for path in sorted({*before, *after}):
        if before.get(path) != after.get(path):
            yield Setting(path, before.get(path), after.get(path))


def _fields(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield the single values of a configuration with their paths, such as ``a.b[0].c``."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _fields(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _fields(item, f"{path}[{index}]")
    else:
        yield path, value
