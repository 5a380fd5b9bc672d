"""Compare the float and the quantised model tensor by tensor, and advise how to improve the result."""

from xslim.analysis.build import analyse, analysed_samples
from xslim.analysis.files import report_files
from xslim.analysis.report import Finding, Report
from xslim.analysis.subject import Subject

__all__ = ["Finding", "Report", "Subject", "analyse", "analysed_samples", "report_files"]
