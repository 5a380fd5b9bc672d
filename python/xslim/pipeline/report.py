"""The report of a static run: analysed before the model is written, written after it."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx_ir as ir

from xslim.analysis import Report, Subject, analyse, report_files
from xslim.config import Config
from xslim.errors import OutputError
from xslim.export.verify import OutputComparison
from xslim.files import write_whole
from xslim.pipeline.paths import OutputPaths
from xslim.pipeline.static import StaticResult
from xslim.pipeline.summary import log_comparison

logger = logging.getLogger(__name__)

MOST_FINDINGS = 5
"""Named in the log; the report has them all."""


def analyse_static(original: ir.Model, result: StaticResult, config: Config, paths: OutputPaths) -> Report:
    """Compare what a static run made with the float model, tensor by tensor.

    Raises
    ------
    InternalError
        One of the models does not run.
    """
    from xslim import __version__

    logger.info("comparing with the float model, tensor by tensor")
    return analyse(
        Subject(
            name=paths.prefix,
            version=__version__,
            original=original,
            reference=result.reference,
            exported=result.model,
            plan=result.plan,
            quantization=result.quantization,
            sketches=result.sketches,
            samples=result.samples,
            calibration_samples=result.calibration_samples,
            config=config,
            early_ranges=result.early_ranges,
            steps=result.gains,
        )
    )


def write_report(report: Report, paths: OutputPaths) -> list[Path]:
    """Write ``<prefix>_report.md``, ``.json`` and ``.html``, each whole or not at all.

    The model is there already, so a file that cannot be written is a warning.

    Returns
    -------
    list of Path
        What was written.
    """
    written = []
    for suffix, content in report_files(report).items():
        path = paths.beside(suffix)
        try:
            write_whole(path, content)
        except OutputError as error:
            logger.warning("the model is written, but this part of its report is not: %s", error)
        else:
            written.append(path)
    return written


def log_report(report: Report, written: list[Path]) -> None:
    """Say how far the outputs are from the float model's, what the report advises, and where it is."""
    errors = [(output.name, output.errors) for output in report.outputs]
    log_comparison(
        [OutputComparison(name, item.sqnr_db, item.cosine, item.max_abs_error) for name, item in errors],
        report.compared_samples,
    )
    for finding in report.findings[:MOST_FINDINGS]:
        where = f" ({', '.join(finding.where[:3])})" if finding.where else ""
        logger.warning("%s%s: see the report", finding.title, where)
    if len(report.findings) > MOST_FINDINGS:
        logger.warning("%d more findings: see the report", len(report.findings) - MOST_FINDINGS)
    logger.info("%s", report.verdict.text)
    if written:
        logger.info("report: %s", ", ".join(str(path) for path in written))
