"""The report as Markdown, with the columns of XSlim 2 reports; SQNR takes the place of their SNR."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from xslim.analysis.facts import by_reason
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
from xslim.analysis.words import preprocessing
from xslim.texts import ENGLISH, Catalogue, catalogue

OPERATORS = "{int8} of {all} operators, {share} of the multiply-accumulate operations"
LEGEND = (
    "SQNR is signal energy over noise energy in decibels: higher is better, red below {limit} dB. "
    "Cosine is red below {cosine}. `[Constant]` marks weights. "
    "F.Hist counts the float values in 32 equal bins over F.MinMax."
)
COLUMNS = ("Op", "Var", "SQNR", "MSE", "Cosine", "Q.MinMax", "F.MinMax", "F.Hist")


def to_markdown(report: Report, language: str = ENGLISH) -> str:
    """Return the report as Markdown: a summary, the findings, and one table, the lowest SQNR first."""
    say = catalogue(language)
    lines = [
        *_summary(report, say),
        *_findings(report.findings, say),
        *_floats(report, say),
        "",
        f"## {say('Tensors')}",
        "",
        *_legend(say),
        "",
        *_table(report),
    ]
    return "\n".join(lines) + "\n"


def _summary(report: Report, say: Catalogue) -> Iterator[str]:
    model, run = report.model, report.run
    yield f"# {model.name}"
    yield ""
    yield f"**{say(f'{report.verdict.level.capitalize()}.')}** {say(report.verdict.message)}"
    yield ""
    if run.date:
        yield f"- {say('run')}: {run.date}"
    if run.source:
        yield f"- {say('model')}: `{run.source}`"
    for item in run.inputs:
        shape = ", ".join(map(str, item.shape))
        yield f"- {say('input')} `{item.name}`: {item.dtype} [{shape}], {preprocessing(item, say)}"
    share = percent(model.int8_macs, model.macs)
    yield f"- int8: {say(OPERATORS, int8=model.int8_operators, all=model.operators, share=share)}"
    sizes = say(
        "{before} bytes before, {after} after",
        before=_grouped(model.float_bytes),
        after=_grouped(model.quantized_bytes),
    )
    yield f"- {say('constants')}: {sizes}"
    number = say("{count} for calibration", count=report.calibration_samples)
    yield f"- {say('samples')}: {number}, {say(compared_words(report))}"
    for output in report.outputs:
        errors = output.errors
        level = f"{decibels(errors.sqnr_db)}, {say('cosine')} {errors.cosine:.5f}"
        yield f"- {say('output')} `{output.name}`: {level}"


def _grouped(number: int) -> str:
    return f"{number:,}"


def _findings(findings: Sequence[Finding], say: Catalogue) -> Iterator[str]:
    if len(findings) > 1:
        yield ""
        yield say(FIRST_THINGS_FIRST)
    for finding in findings:
        yield ""
        yield f"## {say.sentence(finding.title)}"
        yield ""
        yield say.sentence(finding.text)
        yield ""
        yield f"{say('Measured')}: `{json.dumps(plain(finding.evidence), ensure_ascii=False)}`"
        if finding.change:
            yield ""
            yield say("Put into the configuration:")
            yield ""
            yield "```json"
            yield pretty(finding.change)
            yield "```"


def _floats(report: Report, say: Catalogue) -> Iterator[str]:
    """List the operators that stayed float by their reasons."""
    if report.float_operators:
        yield ""
        yield f"## {say('Operators that stayed float')}"
        yield ""
    for reason, operators in by_reason(report.float_operators).items():
        names = ", ".join(f"`{operator.name}` ({operator.op_type})" for operator in operators)
        yield f"- {say.sentence(reason)}: {names}"


def _legend(say: Catalogue) -> Iterator[str]:
    yield say(LEGEND, limit=f"{SQNR_LIMIT:g}", cosine=COSINE_LIMIT)


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
