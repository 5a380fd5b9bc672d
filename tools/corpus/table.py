"""One table of all models: exit status and SQNR of every command, and the largest time and memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tools.corpus.record import SKIPPED, Row

SHOWN_FAILURES = 200


def markdown(rows: Sequence[Row], commands: Sequence[str]) -> str:
    """Return the table in Markdown, then the failures with their messages, then the counts."""
    head = ["model", *commands, "s", "MB"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    by_model: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_model.setdefault(row.model, {})[row.command] = row
    for model, ran in by_model.items():
        cells = [_cell(ran.get(command)) for command in commands]
        seconds = sum(row.seconds for row in ran.values())
        peak = max(row.peak_megabytes for row in ran.values())
        lines.append(f"| {' | '.join([model, *cells, f'{seconds:.1f}', f'{peak:.0f}'])} |")
    failures = [row for row in rows if row.failed]
    if failures:
        lines += ["", "Failures:", ""]
        lines += [
            f"- {row.model} {row.command}: {row.outcome}: {row.message}" for row in failures[:SHOWN_FAILURES]
        ]
        if len(failures) > SHOWN_FAILURES:
            lines.append(f"- and {len(failures) - SHOWN_FAILURES} more; the record has them all")
    outcomes = Counter(row.outcome for row in rows)
    counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.most_common())
    return "\n".join([*lines, "", f"{len(by_model)} models, {len(rows)} runs: {counts or 'none'}"])


def _cell(row: Row | None) -> str:
    if row is None or row.outcome == SKIPPED:
        return "-"
    status = row.outcome if row.status is None else str(row.status)
    parts = [f"**{status}**" if row.failed else status]
    if row.decibels is not None:
        parts.append(f"{row.decibels:.1f} dB")
    return " ".join(parts)
