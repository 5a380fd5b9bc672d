"""What a run says at its end."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from xslim.export.verify import OutputComparison

logger = logging.getLogger(__name__)


def log_comparison(rows: Sequence[OutputComparison]) -> None:
    """Log how far every output is from the float model's, as one table."""
    if not rows:
        return
    width = max(len("output"), *(len(row.name) for row in rows))
    lines = [f"{'output':<{width}}  SQNR dB   cosine    largest error"]
    lines += [
        f"{row.name:<{width}}  {row.sqnr_db:7.2f}   {row.cosine:.5f}   {row.max_abs_error:.4g}"
        for row in rows
    ]
    logger.info("compared with the float model:\n%s", "\n".join(lines))
