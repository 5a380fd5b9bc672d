"""Where accuracy went: both models side by side, tensor by tensor, and what to do about it."""

from xslim.analysis.build import analyse, analysed_samples
from xslim.analysis.files import report_files
from xslim.analysis.report import Finding, Report
from xslim.analysis.subject import Subject

__all__ = ["Finding", "Report", "Subject", "analyse", "analysed_samples", "report_files"]
