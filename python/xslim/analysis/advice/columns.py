"""The rule that finds lost columns of outputs, such as the scores beside the boxes of a detector."""

from __future__ import annotations

import onnx_ir as ir

from xslim.analysis.report import Finding, OutputReport, Report
from xslim.analysis.subject import Subject
from xslim.graph.layers import layers
from xslim.graph.outputs import values_by_name
from xslim.graph.tail import tail_values

MOST_TENSORS = 20


def lost_columns(report: Report, subject: Subject) -> list[Finding]:
    """Find outputs whose whole is fine while columns of small values are lost."""
    return [_finding(output, subject) for output in report.outputs if output.lost is not None]


def _finding(output: OutputReport, subject: Subject) -> Finding:
    lost = output.lost
    assert lost is not None
    tensors = _int8_tensors_before(output.name, subject)
    listed = subject.config.quantization_parameters.float_tensors
    change = {"quantization_parameters": {"float_tensors": list(dict.fromkeys([*listed, *tensors]))}}
    return Finding(
        code="outputs.lost-columns",
        title=f"The columns {lost.words} of {output.name} are lost",
        text=(
            f"Along axis {lost.axis}, these columns are at {lost.sqnr_db:.1f} dB, the whole output is at "
            f"{lost.whole_db:.1f} dB: they share an int8 scale with columns of far larger values (boxes "
            "beside scores, for example). Keep the tensors between the last layers and the output float."
        ),
        evidence={
            "axis": lost.axis,
            "columns": lost.words,
            "columns_sqnr_db": round(lost.sqnr_db, 2),
            "output_sqnr_db": round(lost.whole_db, 2),
        },
        where=tuple(tensors) or (output.name,),
        change=change,
    )


def _int8_tensors_before(output: str, subject: Subject) -> list[str]:
    """Return the int8 tensors between the last learned layers and an output, or else those of the layers."""
    graph = subject.reference.graph
    tail, learned = tail_values(graph), layers(graph)
    behind: list[str] = []
    of_layers: list[str] = []
    waiting, seen = [values_by_name(graph)[output]], set[ir.Value]()
    while waiting:
        value = waiting.pop()
        if value in seen or value not in tail:
            continue
        seen.add(value)
        node = value.producer()
        if value.name in subject.quantization.activations:
            is_layer = node is not None and node.name in learned
            (of_layers if is_layer else behind).append(value.name or "")
        waiting.extend(source for source in (node.inputs if node else ()) if source is not None)
    return sorted(behind or of_layers)[:MOST_TENSORS]
