"""The report as Markdown, with the columns of XSlim 2 reports; SQNR takes the place of their SNR."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from xslim.analysis.numbers import decibels, percent, plain, pretty, short
from xslim.analysis.report import (
    COSINE_LIMIT,
    FIRST_THINGS_FIRST,
    SQNR_LIMIT,
    ConstantReport,
    Errors,
    Finding,
    Range,
    Report,
    TensorReport,
    compared_words,
)

COLUMNS = ("Op", "Var", "SQNR", "MSE", "Cosine", "Q.MinMax", "F.MinMax", "F.Hist")


def to_markdown(report: Report) -> str:
    """Return the report as Markdown: a summary, the findings, and one table, the lowest SQNR first."""
    lines = [
        *_summary(report),
        *_findings(report.findings),
        "",
        "## Tensors",
        "",
        *_legend(),
        "",
        *_table(report),
    ]
    return "\n".join(lines) + "\n"


def _summary(report: Report) -> Iterator[str]:
    model = report.model
    yield f"# {model.name}"
    yield ""
    yield f"**{report.verdict.level.capitalize()}.** {report.verdict.text}"
    yield ""
    yield f"- int8: {model.int8_operators} of {model.operators} operators, "
    yield f"  {percent(model.int8_macs, model.macs)} of the multiply-accumulate operations"
    yield f"- constants: {model.float_bytes:,} bytes before, {model.quantized_bytes:,} after"
    yield f"- samples: {report.calibration_samples} for calibration, {compared_words(report)}"
    for output in report.outputs:
        errors = output.errors
        yield f"- output `{output.name}`: {decibels(errors.sqnr_db)}, cosine {errors.cosine:.5f}"


def _findings(findings: Sequence[Finding]) -> Iterator[str]:
    if len(findings) > 1:
        yield ""
        yield FIRST_THINGS_FIRST
    for finding in findings:
        yield ""
        yield f"## {finding.title}"
        yield ""
        yield finding.text
        yield ""
        yield f"Measured: `{json.dumps(plain(finding.evidence), ensure_ascii=False)}`"
        yield ""
        yield "Put into the configuration:"
        yield ""
        yield "```json"
        yield pretty(finding.change)
        yield "```"


def _legend() -> Iterator[str]:
    yield "SQNR is signal energy over noise energy in decibels: "
    yield f"higher is better, red below {SQNR_LIMIT:g} dB. "
    yield f"Cosine is red below {COSINE_LIMIT}. `[Constant]` marks weights. "
    yield "F.Hist counts the float values in 32 equal bins over F.MinMax."


def _table(report: Report) -> Iterator[str]:
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"|{'---|' * len(COLUMNS)}"
    rows = [(tensor.accumulated, _tensor(tensor)) for tensor in report.tensors]
    rows += [(constant.errors, _constant(constant)) for constant in report.constants]
    for _, row in sorted(rows, key=lambda item: item[0].sqnr_db):
        yield row


def _tensor(row: TensorReport) -> str:
    return _row(
        row.op_name,
        row.op_type,
        row.name,
        row.accumulated,
        row.quantized_range,
        row.float_range,
        row.histogram,
    )


def _constant(row: ConstantReport) -> str:
    name = f"{row.name}[Constant]"
    return _row(
        row.op_name, row.op_type, name, row.errors, row.quantized_range, row.float_range, row.histogram
    )


def _row(
    op_name: str,
    op_type: str,
    name: str,
    errors: Errors,
    quantized: Range,
    original: Range,
    histogram: Sequence[int],
) -> str:
    cells = [
        f"{op_name}[{op_type}]",
        name,
        _marked(decibels(errors.sqnr_db), errors.sqnr_db < SQNR_LIMIT),
        short(errors.mse),
        _marked(f"{errors.cosine:.4f}", errors.cosine < COSINE_LIMIT),
        ", ".join(short(bound) for bound in quantized),
        ", ".join(short(bound) for bound in original),
        ",".join(map(str, histogram)),
    ]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _marked(text: str, bad: bool) -> str:
    return f'<font color="red">{text}</font>' if bad else text
