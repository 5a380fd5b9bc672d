"""Find signal processing inside a graph: powers in front of a logarithm, a root or a quotient.

A power has a range that is the square of its operand's range, and the functions behind it depend on the
smallest values: a spectrogram of 1e-12 to 1 has 256 levels in int8, and its logarithm only sees the lowest.
What lies between a power and such a function is therefore float. A logarithm that sees nothing but the
inputs of the model, filtered by constant filter banks, is a spectrogram; its filters are float as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import onnx_ir as ir

from xslim.graph.ops import MOVING, constant, is_constant

REASON = "{sink} depends on the smallest values of this power, which int8 rounds to zero"
FILTER_REASON = "it computes the spectrum for {sink}, which depends on the smallest values"

ARITHMETIC = frozenset(
    {"Add", "Clip", "Div", "Max", "Mean", "Min", "Mul", "Neg", "ReduceMean", "ReduceMax", "ReduceSum"}
    | {"Relu", "Sqrt", "Sub", "Sum"}
)
BETWEEN = MOVING | ARITHMETIC | {"Expand", "Pad"}
"""What may lie between a power and a function that depends on the smallest values."""
POWERS = frozenset({"Abs", "ReduceL2", "ReduceSumSquare"})
SPECTRUM = (BETWEEN | {"AveragePool", "Conv", "DFT", "Gemm", "MatMul", "STFT"}) - {"Relu"}
"""What may lie between the inputs and a logarithm. A Relu stands between learned layers, so what lies before
it is no filter bank."""


def signal_values(graph: ir.Graph) -> dict[str, str]:
    """Return the tensors that must stay float, each with the reason."""
    found: dict[str, str] = {}
    for node in graph:
        for value in _sensitive_inputs(node):
            behind = _behind(value)
            found.update(_named(behind, REASON.format(sink=node.op_type)))
            if behind and node.op_type == "Log" and (filters := _filters(value, graph)):
                found.update(_named(filters, FILTER_REASON.format(sink=node.op_type)))
    return found


def _named(values: list[ir.Value], reason: str) -> dict[str, str]:
    return {value.name: reason for value in values if value.name}


def _sensitive_inputs(node: ir.Node) -> Iterator[ir.Value]:
    """Yield the inputs whose smallest values count."""
    if node.op_type in ("Log", "Sqrt", "Reciprocal") or (node.op_type == "Pow" and _exponent(node) < 1):
        operand = node.inputs[0]
    elif node.op_type == "Div":
        operand = node.inputs[1]
    else:
        return
    if operand is not None and not is_constant(operand):
        yield operand


def _is_power(node: ir.Node | None) -> bool:
    if node is None:
        return False
    if node.op_type == "Mul":
        return node.inputs[0] is node.inputs[1]
    return node.op_type in POWERS or (node.op_type == "Pow" and _exponent(node) >= 2)


def _exponent(node: ir.Node) -> float:
    array = constant(node.inputs[1])
    return float(array.min()) if array is not None and array.size else 1.0


def _walk_back(value: ir.Value, goes_on: Callable[[ir.Node], bool]) -> list[ir.Value]:
    """Return the value and those from which it is computed, as far as `goes_on` allows."""
    found: dict[ir.Value, None] = {}
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if current in found or is_constant(current):
            continue
        found[current] = None
        node = current.producer()
        if node is not None and goes_on(node):
            waiting.extend(source for source in node.inputs if source is not None)
    return list(found)


def _between(node: ir.Node) -> bool:
    return not _is_power(node) and node.op_type in BETWEEN


def _behind(value: ir.Value) -> list[ir.Value]:
    """Return the values between powers and a function, those of the powers included."""
    region = _walk_back(value, _between)
    inside: set[ir.Value] = set()
    grows = True
    while grows:
        further = {
            current for current in region if current not in inside and _continues(current.producer(), inside)
        }
        inside |= further
        grows = bool(further)
    return [current for current in region if current in inside]


def _continues(node: ir.Node | None, inside: set[ir.Value]) -> bool:
    return _is_power(node) or (node is not None and any(source in inside for source in node.inputs))


def _filters(value: ir.Value, graph: ir.Graph) -> list[ir.Value]:
    """Return all values from the inputs to a function, or none if other operators lie between."""

    def is_linear(node: ir.Node) -> bool:
        return _is_power(node) or node.op_type in SPECTRUM

    region = _walk_back(value, is_linear)
    inputs = set(graph.inputs)
    closed = all(
        current in inputs or ((node := current.producer()) is not None and is_linear(node))
        for current in region
    )
    return region if closed else []
