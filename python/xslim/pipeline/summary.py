"""What a run says at its end: a few lines, however large the model."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from xslim.export.verify import OutputComparison

logger = logging.getLogger(__name__)

MOST_OUTPUTS = 6


def log_comparison(rows: Sequence[OutputComparison], samples: int | None = None) -> None:
    """Log how far the outputs are from the float model's: of many, the worst."""
    if not rows:
        return
    worst = sorted(range(len(rows)), key=lambda index: rows[index].sqnr_db)[:MOST_OUTPUTS]
    shown = [rows[index] for index in sorted(worst)]
    # A name with line breaks in it must not look like a row.
    names = [row.name.replace("\n", r"\n") for row in shown]
    width = max(len("output"), *map(len, names))
    lines = [f"{'output':<{width}}  SQNR dB   cosine    largest error"]
    lines += [
        f"{name:<{width}}  {row.sqnr_db:7.2f}   {row.cosine:.5f}   {row.max_abs_error:.4g}"
        for name, row in zip(names, shown, strict=True)
    ]
    if len(rows) > len(shown):
        lines.append(f"and {len(rows) - len(shown)} outputs that are closer")
    on = f" on {samples} sample{'s' if samples > 1 else ''}" if samples else ""
    logger.info("compared with the float model%s:\n%s", on, "\n".join(lines))
