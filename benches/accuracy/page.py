"""Write the accuracy table: mean and spread over the calibration lists."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

from benches.accuracy.record import Row
from benches.accuracy.suite import ALL

Kind = tuple[str, str, int | None, int | None]

HEAD = """# Accuracy

Measured by `make accuracy` on data that calibration never saw, with the Q/DQ pairs executed as written.
Every static run is repeated with calibration lists that are drawn at random. The table shows the mean and the
standard deviation over the lists. SQNR compares the outputs with those of the float model. "printed" is the
SQNR that the run itself printed. "int8" is the share of multiply-accumulates in int8. "operators" counts the
operators of the result without the Q/DQ pairs, and in brackets those that compute in float. "subgraphs" are
the parts that the target `spacemit` takes. Seconds depend on the machine: every run had one core.

The calibration methods one by one, and the reference implementation on the first six models at all finetune
levels, are in [accuracy-methods.md](accuracy-methods.md).

"""

COLUMNS = (
    *("task", "method", "precision, finetune", "lists", "task's measure (float)", "agree", "SQNR dB"),
    *("printed dB", "cosine", "int8", "operators", "subgraphs", "s"),
)


def page(rows: Iterable[Row]) -> str:
    """Return the table of all rows as a Markdown page."""
    kinds: dict[Kind, list[Row]] = defaultdict(list)
    for row in rows:
        kinds[row.task, row.method, row.precision, row.finetune].append(row)
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|---|---" + "|---:" * (len(COLUMNS) - 3) + "|"]
    lines += [line(kinds[kind]) for kind in sorted(kinds, key=_order)]
    return HEAD + "\n".join(lines) + "\n"


def _order(kind: Kind) -> tuple[int, bool, str, int, int]:
    task, method, precision, finetune = kind
    place = ALL.index(task) if task in ALL else len(ALL)
    return place, not method.startswith("xslim"), method, precision or 0, finetune or 0


def line(rows: Sequence[Row]) -> str:
    """Return the line of one task and method over all its lists."""
    first, good = rows[0], [row for row in rows if not row.error]
    levels = "" if first.precision is None else f"{first.precision}, {first.finetune}"
    name = f"| {first.task} | {first.method} | {levels} | {len(good)} of {len(rows)} "
    if not good:
        error = first.error.replace("|", "/")[:80]
        return f"{name}| failed: {error} | | | | | | | | {_over(rows, 'seconds', 0)} |"
    measure = ""
    if good[0].value is not None:
        measure = f"{good[0].metric} {_over(good, 'value', 3)} ({_over(good, 'float_value', 3)})"
    cells = (
        measure,
        _over(good, "agreement", 3),
        spread([_mean(row.sqnr_db) for row in good], 2),
        spread([_mean(row.own_db) for row in good if row.own_db], 1),
        _over(good, "cosine", 4),
        _over(good, "int8_share", 3),
        f"{_over(good, 'operators', 0)} ({_over(good, 'float_operators', 0)})",
        _over(good, "subgraphs", 0),
        _over(good, "seconds", 0),
    )
    return f"{name}| {' | '.join(cells)} |"


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else math.nan


def _over(rows: Sequence[Row], field: str, digits: int) -> str:
    values = [getattr(row, field) for row in rows]
    known = [float(value) for value in values if value is not None]
    return spread(known, digits) if known else ""


def spread(values: Sequence[float], digits: int) -> str:
    """Return the mean and the standard deviation in words; the latter only if it is not zero.

    Infinite values, of outputs that are all wrong, make the mean infinite.
    """
    if not values:
        return ""
    mean = fmean(values)
    words = f"{mean:.{digits}f}"
    deviation = stdev(values) if len(values) > 1 and math.isfinite(mean) else 0.0
    return f"{words} ± {deviation:.{digits}f}" if round(deviation, digits) > 0 else words
