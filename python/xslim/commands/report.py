"""``xslim report``: compare the JSON reports of two runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from xslim.analysis.diff import ReportDiff, compare_reports
from xslim.analysis.diff_texts import diff_data, diff_html, diff_lines, diff_markdown
from xslim.analysis.stored import read_report
from xslim.commands.text import say, say_json
from xslim.errors import ConfigError
from xslim.files import InputFile, refuse_inputs, require_place, write_whole
from xslim.texts import language_of

FORMS: dict[str, Callable[[ReportDiff, str], str]] = {".html": diff_html, ".md": diff_markdown}


def run(action: str, first: str, second: str, output: str | None, lang: str | None, as_json: bool) -> int:
    """Print how two reports differ, and write it to a file if one is named."""
    del action
    path = None if output is None else Path(output)
    if path is not None:
        _check_output(path, first, second)
    diff = report_diff(first, second)
    language = language_of(lang)
    # Written first: whoever reads the lines may stop reading.
    if path is not None:
        write_whole(path, FORMS[path.suffix](diff, language))
    if as_json:
        say_json(diff_data(diff))
    else:
        say(*diff_lines(diff, language))
        if path is not None:
            say(f"wrote {path}")
    return 0


def report_diff(first: str | Path, second: str | Path) -> ReportDiff:
    """Compare the JSON reports of two runs, the first being the one before.

    Parameters
    ----------
    first, second : str or Path
        Files ``<output_prefix>_report.json``.

    Returns
    -------
    ReportDiff
        Outputs, tensors that became better or worse, float operators, and settings that differ.

    Raises
    ------
    DataError
        A file is missing, or is no report.
    """
    return compare_reports(read_report(Path(first)), read_report(Path(second)))


def _check_output(path: Path, *reports: str) -> None:
    """Refuse an output of unknown form, or one that cannot be written or would replace a report."""
    if path.suffix not in FORMS:
        raise ConfigError(f"must end in {' or '.join(FORMS)}", where=f"-o {path}")
    refuse_inputs([path], [InputFile(Path(name), "the report") for name in reports])
    require_place(path)
