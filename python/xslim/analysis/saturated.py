"""Compare two models at the inputs of functions that saturate in front of the outputs."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from xslim.analysis.measures import errors_of
from xslim.analysis.report import OutputReport
from xslim.graph.outputs import with_outputs
from xslim.graph.saturation import operands, saturated_outputs
from xslim.kernels import ErrorMetrics
from xslim.runtime import Feeds, Session


def compare_behind(reference: ir.Model, exported: ir.Model, samples: Sequence[Feeds]) -> list[OutputReport]:
    """Compare the operands of saturating functions, whose own errors say little.

    Parameters
    ----------
    reference, exported : onnx_ir.Model
        The float and the quantised model; equal operators have equal names.
    samples : sequence of feeds
        The samples on which both run.

    Returns
    -------
    list of OutputReport
        One for every function, such as ``logits (before Softmax)``.
    """
    functions = [node for nodes in saturated_outputs(reference.graph).values() for node in nodes]
    names = [node.name or "" for node in functions]
    if not names or not samples:
        return []
    first, second = _session(reference, names), _session(exported, names)
    totals = [ErrorMetrics() for _ in names]
    for expected, found in zip(first.run_all(samples), second.run_all(samples), strict=True):
        for total, a, b in zip(totals, expected, found, strict=True):
            if a.dtype.kind == "f" and a.shape == b.shape:
                total.update(a, b)
    return [
        OutputReport(f"{node.inputs[0].name} (before {node.op_type})", errors_of(total))
        for node, total in zip(functions, totals, strict=True)
        if node.inputs[0] is not None and total.count
    ]


def _session(model: ir.Model, functions: Sequence[str]) -> Session:
    """Return a session of the operands of some functions."""
    names = operands(model, functions)
    outputs = [value.name or "" for value in model.graph.outputs]
    shown = with_outputs(model, list(dict.fromkeys([*outputs, *names])))
    return Session(shown, names, threads=1, qdq_as_written=True)
