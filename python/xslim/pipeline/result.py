"""What a run of any precision level gives besides its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from xslim.export.proof import OutputComparison

if TYPE_CHECKING:
    # The other levels start faster without these modules.
    from xslim.analysis import Report, Subject


@dataclass(frozen=True)
class Finished:
    """The results of a run.

    Attributes
    ----------
    model : onnx_ir.Model
        The model that was written.
    comparison : sequence of OutputComparison
        The errors of the outputs against the float model; empty if onnxruntime cannot run the model.
    subject : Subject or None
        Models, numbers and samples of a static run, from which its report can be made.
    report : Report or None
        The report, if the run has made it.
    """

    model: ir.Model
    comparison: Sequence[OutputComparison] = ()
    subject: Subject | None = None
    report: Report | None = None
