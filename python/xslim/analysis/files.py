"""The three files of a report."""

from __future__ import annotations

from xslim.analysis.as_json import to_json
from xslim.analysis.html import to_html
from xslim.analysis.markdown import to_markdown
from xslim.analysis.report import Report
from xslim.texts import ENGLISH


def report_files(report: Report, language: str = ENGLISH) -> dict[str, str]:
    """Return the content of every file, by the end of its name, such as ``_report.md``.

    Texts for readers are in the language; JSON is the same in every language.
    """
    return {
        "_report.md": to_markdown(report, language),
        "_report.json": to_json(report),
        "_report.html": to_html(report, language),
    }
