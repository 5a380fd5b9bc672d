"""Write and log the report of a static run, after the model is written."""

from __future__ import annotations

import logging
import os
from datetime import datetime, timezone
from pathlib import Path

from xslim.analysis import Report, report_files
from xslim.analysis.report import OutputReport
from xslim.errors import OutputError
from xslim.export.proof import OutputComparison
from xslim.files import write_whole
from xslim.pipeline.finish import log_comparison
from xslim.pipeline.paths import OutputPaths
from xslim.texts import language_of

logger = logging.getLogger(__name__)

FIXED_DATE = "SOURCE_DATE_EPOCH"
"""Environment variable of reproducible builds: the time that results may state."""
MOST_FINDINGS = 5
"""Largest number of findings in the log; the report contains all."""


def write_report(report: Report, paths: OutputPaths, language: str | None = None) -> list[Path]:
    """Write ``<prefix>_report.md``, ``.json`` and ``.html``, each completely or not at all.

    Without `language`, ``en`` or ``zh``, the locale chooses. The model is written already, so a report that
    cannot be written is only a warning.

    Returns
    -------
    list of Path
        The written files.
    """
    written = []
    for suffix, content in report_files(report, language_of(language)).items():
        path = paths.beside(suffix)
        try:
            write_whole(path, content)
        except OutputError as error:
            logger.warning("the model is written, but this part of its report is not: %s", error)
        else:
            written.append(path)
    return written


def date_of_run() -> str:
    """Return the local day and time; `SOURCE_DATE_EPOCH`, in seconds, gives every run the same one (UTC)."""
    fixed = os.environ.get(FIXED_DATE, "")
    moment = datetime.fromtimestamp(int(fixed), timezone.utc) if fixed.isdecimal() else datetime.now()
    return f"{moment:%Y-%m-%d %H:%M}"


def comparison_of(output: OutputReport) -> OutputComparison:
    """Return the errors of an output in the form of the comparison at the end of a run."""
    errors = output.errors
    return OutputComparison(
        output.name, errors.sqnr_db, errors.cosine, errors.max_abs_error, lost=output.lost
    )


def log_report(report: Report, written: list[Path]) -> None:
    """Log the errors of the outputs, the advice of the report, and the path of the report."""
    log_comparison(
        [comparison_of(output) for output in report.outputs],
        report.compared_samples,
        unseen=report.compared_unseen,
    )
    for finding in report.findings[:MOST_FINDINGS]:
        where = f" ({', '.join(finding.where[:3])})" if finding.where else ""
        logger.warning("%s: see the report%s", finding.title, where)
    if len(report.findings) > MOST_FINDINGS:
        logger.warning("%d more findings: see the report", len(report.findings) - MOST_FINDINGS)
    logger.info("%s", report.verdict.text)
    if written:
        logger.info("report: %s", ", ".join(str(path) for path in written))
