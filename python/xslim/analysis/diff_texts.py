"""The difference of two reports as lines, Markdown, JSON and HTML."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from xslim.analysis.diff import LEAST_DB, Change, ReportDiff
from xslim.analysis.facts import FloatOperator
from xslim.analysis.html import render
from xslim.analysis.numbers import decibels, plain, signed
from xslim.texts import Catalogue, catalogue

SHOWN = 12
"""Number of tensors that the terminal shows of each kind; files hold all."""


def diff_lines(diff: ReportDiff, language: str) -> Iterator[str]:
    """Yield the difference for a terminal."""
    say = catalogue(language)
    yield f"A {diff.first}, B {diff.second}"
    yield from (f"{title}: {value}" for title, value in _facts(diff, say))
    yield f"{say('outputs')} (SQNR)"
    yield from _changes(diff.outputs, len(diff.outputs))
    for title, changes in _kinds(diff, say):
        yield f"{title}: {len(changes)}"
        yield from _changes(changes, SHOWN)
        if len(changes) > SHOWN:
            yield f"  {say('and {count} more', count=len(changes) - SHOWN)}"
    yield say("changed by less than {least} dB: {count}", least=LEAST_DB, count=diff.similar)
    for title, names in _single(diff, say):
        yield f"{title}: {len(names)}"
        yield from (f"  {name}" for name in names[:SHOWN])
        if len(names) > SHOWN:
            yield f"  {say('and {count} more', count=len(names) - SHOWN)}"
    if diff.settings:
        yield say("settings that differ")
    for item in diff.settings:
        yield f"  {item.path}: {_json(item.before)} -> {_json(item.after)}"


def diff_markdown(diff: ReportDiff, language: str) -> str:
    """Return the difference as Markdown, with all tensors."""
    return "\n".join(_markdown(diff, catalogue(language))) + "\n"


def diff_html(diff: ReportDiff, language: str) -> str:
    """Return the difference as a self-contained HTML page, with all tensors."""
    say = catalogue(language)
    return render(
        "diff.html.j2",
        say,
        title=f"{diff.first} → {diff.second}",
        diff=diff,
        facts=list(_facts(diff, say)),
        kinds=[(title, changes) for title, changes in _kinds(diff, say) if changes],
        single=list(_single(diff, say)),
        least=LEAST_DB,
    )


def diff_data(diff: ReportDiff) -> dict[str, Any]:
    """Return the difference as plain data for JSON; levels without noise are null."""
    data: dict[str, Any] = plain(asdict(diff))
    return data


def _facts(diff: ReportDiff, say: Catalogue) -> Iterator[tuple[str, str]]:
    counts = [f"{a} / {b}" for a, b in zip(diff.int8_operators, diff.operators, strict=True)]
    yield say("operators in int8, of all"), " → ".join(counts)
    yield say("compared samples"), " → ".join(map(str, diff.compared_samples))


def _kinds(diff: ReportDiff, say: Catalogue) -> Iterator[tuple[str, Sequence[Change]]]:
    yield say("tensors that became worse"), diff.worse
    yield say("tensors that became better"), diff.better


def _single(diff: ReportDiff, say: Catalogue) -> Iterator[tuple[str, list[str]]]:
    """Yield what only one of the reports has, where there is something."""
    listed = (
        ("operators that are float in B only", _named(diff.became_float, say)),
        ("operators that are float in A only", _named(diff.became_int8, say)),
        ("tensors that are int8 in A only", list(diff.only_first)),
        ("tensors that are int8 in B only", list(diff.only_second)),
    )
    yield from ((say(title), names) for title, names in listed if names)


def _named(operators: Sequence[FloatOperator], say: Catalogue) -> list[str]:
    return [f"{operator.name} ({operator.op_type}): {say(operator.reason)}" for operator in operators]


def _changes(changes: Sequence[Change], most: int) -> Iterator[str]:
    for item in changes[:most]:
        levels = f"{decibels(item.before):>8} -> {decibels(item.after):>8}"
        yield f"  {signed(item.gain):>9}  {levels}  {item.name}"


def _markdown(diff: ReportDiff, say: Catalogue) -> Iterator[str]:
    yield f"# {diff.first} → {diff.second}"
    yield ""
    yield from (f"- {title}: {value}" for title, value in _facts(diff, say))
    yield f"- {say('changed by less than {least} dB: {count}', least=LEAST_DB, count=diff.similar)}"
    for title, changes in ((say("outputs"), diff.outputs), *_kinds(diff, say)):
        if not changes:
            continue
        yield ""
        yield f"## {title}"
        yield ""
        yield f"| {say('Tensor')} | {say('Operator')} | A | B | B - A | {say('Local SQNR')} A | B |"
        yield "|---|---|---|---|---|---|---|"
        yield from map(_row, changes)
    for title, names in _single(diff, say):
        yield ""
        yield f"## {title}"
        yield ""
        yield from (f"- {name}" for name in names)
    if diff.settings:
        yield ""
        yield f"## {say('settings that differ')}"
        yield ""
    for item in diff.settings:
        yield f"- `{item.path}`: `{_json(item.before)}` → `{_json(item.after)}`"


def _row(item: Change) -> str:
    levels = (item.local_before, item.local_after)
    local = ["" if level is None else decibels(level) for level in levels]
    cells = [item.name, item.operator, decibels(item.before), decibels(item.after), signed(item.gain), *local]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
