"""Compare two models at the inputs of functions that saturate in front of the outputs."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from xslim.analysis.measures import errors_of
from xslim.analysis.report import OutputReport
from xslim.graph.outputs import values_by_name
from xslim.graph.saturation import saturated_outputs
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
    first, second = _operands(reference, names), _operands(exported, names)
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


def _operands(model: ir.Model, functions: Sequence[str]) -> Session:
    """Return a session of the operands of some functions."""
    extended = model.clone()
    nodes, values = {node.name: node for node in extended.graph}, values_by_name(extended.graph)
    operands = [nodes[name].inputs[0] for name in functions]
    names = [value.name or "" for value in operands if value is not None]
    known = {value.name for value in extended.graph.outputs}
    extended.graph.outputs.extend(values[name] for name in dict.fromkeys(names) if name not in known)
    return Session(extended, names, threads=1, qdq_as_written=True)
