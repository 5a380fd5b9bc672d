"""Dynamic int8: weights are quantised now, activations while the model runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx_ir as ir

from xslim.export.decisions import Conversion, Decision
from xslim.export.dynamic_smoothing import channel_divisors, divide_normalization
from xslim.export.dynamic_weights import Factors, WeightStore, matrix_of, weight_refusal
from xslim.graph.editing import GraphEditor
from xslim.graph.linear import LAYOUTS, is_plain
from xslim.graph.ops import attribute, constant, is_constant, static_shape
from xslim.passes.tidy import fit_ir_version
from xslim.targets import Operator, Target

MICROSOFT = "com.microsoft"

LONGEST_SUM = (2**31 - 1) // (255 * 127)
"""Number of products of uint8 and int8 whose sum fits int32 in the worst case."""


def quantize_dynamically(
    model: ir.Model, target: Target, kept: Mapping[str, str] | None = None
) -> Conversion:
    """Return a model with int8 weights whose activations are quantised at run time.

    The target's table states the form of each operator (`Operator.dynamic`). Weights are symmetric with one
    scale per output channel, chosen for the least squared error, and rounded so that their errors cancel. One
    node quantises an activation for all products that read it. If the channels of a normalisation's output
    differ much in size, they are scaled alike first, provided that this reduces the expected error.

    Parameters
    ----------
    model : onnx_ir.Model
        The prepared model, with named nodes, inferred types and opset 13 or newer; it is not changed.
    target : Target
        The operator table.
    kept : mapping of str to str, optional
        Names of operators that must not be converted, each with the reason.

    Returns
    -------
    Conversion
        The new model, and a decision for every operator that has a dynamic form.
    """
    copy = model.clone()
    writer = _DynamicWriter(copy.graph, target)
    for node in list(copy.graph):
        writer.consider(node, (kept or {}).get(node.name or ""))
    writer.write()
    if any(node.domain == MICROSOFT for node in copy.graph):
        copy.opset_imports.setdefault(MICROSOFT, 1)
    fit_ir_version(copy)
    return Conversion(copy, tuple(writer.decisions))


class _DynamicWriter(GraphEditor):
    """Decides for every operator whether it is converted, then rewrites the chosen operators."""

    def __init__(self, graph: ir.Graph, target: Target) -> None:
        super().__init__(graph)
        self.target = target
        self.weights = WeightStore(self)
        self.decisions: list[Decision] = []
        self.factors: dict[ir.Node, Factors] = {}
        self._chosen: list[tuple[ir.Node, str]] = []
        self._measured: dict[ir.Value | None, list[ir.Value]] = {}

    def consider(self, node: ir.Node, kept: str | None) -> None:
        entry = self.target.entry(node)
        if entry.dynamic is None:
            return
        reason = kept or weight_refusal(node, entry)
        if reason is None:
            self._chosen.append((node, _form(node, entry)))
        else:
            self.decisions.append(Decision(node.name or "", node.op_type, False, reason))

    def write(self) -> None:
        readers: dict[ir.Value | None, list[ir.Node]] = {}
        for node, form in self._chosen:
            if form in _PRODUCTS:
                readers.setdefault(node.inputs[0], []).append(node)
        shared = {node for nodes in readers.values() if len(nodes) > 1 for node in nodes}
        for value, nodes in readers.items():
            self._smooth(value, nodes)
        for node, chosen in self._chosen:
            form = "integer" if chosen == "matmul" and node in shared else chosen
            description, write = _FORMS[form]
            self.decisions.append(Decision(node.name or "", node.op_type, True, description))
            write(self, node)
        self.drop_unused_initializers()

    def _smooth(self, value: ir.Value | None, products: Sequence[ir.Node]) -> None:
        """Scale the channels of an activation alike if that reduces the error of its products."""
        divisors = channel_divisors(value, [matrix_of(node) for node in products])
        if divisors is None or value is None:
            return
        self.factors.update(dict.fromkeys(products, divisors))
        if {use.node for use in value.uses()} == set(products) and not value.is_graph_output():
            divide_normalization(self, value, divisors)
            return
        [smoothed] = self.node(
            "Mul",
            [value, self.constant(f"{value.name}_smoothing", (1 / divisors).astype(np.float32))],
            [f"{value.name}_smoothed"],
            before=products[0],
        )
        smoothed.type, smoothed.shape = value.type, value.shape
        for node in products:
            node.replace_input_with(0, smoothed)

    def matrix(self, node: ir.Node) -> tuple[ir.Value, ir.Value]:
        """Return the int8 matrix of a product and its scales."""
        return self.weights.matrix(node, self.factors.get(node))

    def measured(self, value: ir.Value | None, reader: ir.Node) -> list[ir.Value]:
        """Return the uint8 form of an activation, its scale and its zero point, all from one shared node."""
        if value not in self._measured:
            stem = value.name if value is not None else None
            names = [f"{stem}_quantized", f"{stem}_scale", f"{stem}_zero_point"]
            self._measured[value] = self.node("DynamicQuantizeLinear", [value], names, before=reader)
        return self._measured[value]


def _form(node: ir.Node, entry: Operator) -> str:
    form = entry.dynamic or "weights"
    if form in _PRODUCTS and not _is_plain_product(node):
        return "weights"
    if form == "lstm" and attribute(node, "layout"):
        return "weights"
    return form


def _is_plain_product(node: ir.Node) -> bool:
    """Whether the node is activation times matrix plus perhaps a bias, and its sums fit int32."""
    shape = static_shape(node.inputs[1])
    if shape is None or len(shape) != 2 or LAYOUTS[node.op_type](node).inputs_of_group(shape) > LONGEST_SUM:
        return False
    return is_plain(node) and attribute(node, "beta") in (None, 1.0)


def _write_matmul(writer: _DynamicWriter, node: ir.Node) -> None:
    """Write one node that quantises the activation, multiplies and adds the bias."""
    matrix, scale = writer.matrix(node)
    bias, rest = _bias(writer, node, int(scale.const_value.size) if scale.const_value else 0)
    inputs = (
        [node.inputs[0], matrix, scale, None, bias] if bias is not None else [node.inputs[0], matrix, scale]
    )
    [product] = writer.node(
        "DynamicQuantizeMatMul", inputs, [f"{node.outputs[0].name}_product"], before=node, domain=MICROSOFT
    )
    writer.replace(node, [_add(writer, node, product, rest)])


def _write_integer(writer: _DynamicWriter, node: ir.Node) -> None:
    """Write an integer product and its scaling; products of one activation share the quantising node."""
    stem = node.outputs[0].name
    matrix, scale = writer.matrix(node)
    quantized, input_scale, zero_point = writer.measured(node.inputs[0], node)
    [total] = writer.node("MatMulInteger", [quantized, matrix, zero_point], [f"{stem}_int32"], before=node)
    [real] = writer.node(
        "Cast", [total], [f"{stem}_unscaled"], before=node, attributes={"to": ir.DataType.FLOAT}
    )
    [factor] = writer.node("Mul", [input_scale, scale], [f"{stem}_scale"], before=node)
    [product] = writer.node("Mul", [real, factor], [f"{stem}_product"], before=node)
    bias = node.inputs[2] if node.op_type == "Gemm" and len(node.inputs) > 2 else None
    writer.replace(node, [_add(writer, node, product, bias)])


def _write_lstm(writer: _DynamicWriter, node: ir.Node) -> None:
    """Write one node; the axis of inputs comes before that of gates in its weights."""
    input_weights = writer.weights.gates(node, 1)
    state_weights = writer.weights.gates(node, 2)
    given = [*node.inputs, *[None] * (8 - len(node.inputs))]
    inputs = [
        given[0],
        input_weights[0],
        state_weights[0],
        *given[3:8],
        *input_weights[1:],
        *state_weights[1:],
    ]
    attributes = {name: item for name, item in node.attributes.items() if name != "layout"}
    names = [f"{output.name or node.name}_quantized" for output in node.outputs]
    results = writer.node(
        "DynamicQuantizeLSTM", inputs, names, before=node, domain=MICROSOFT, attributes=attributes
    )
    for old, new in zip(node.outputs, results, strict=True):
        new.name = new.name if old.name else ""
    writer.replace(node, results)


def _write_weights(writer: _DynamicWriter, node: ir.Node) -> None:
    """Keep the float operator, which reads its int8 weights through DequantizeLinear."""
    entry = writer.target.entry(node)
    for position in entry.dynamic_weights:
        node.replace_input_with(position, writer.weights.restored(node, position, entry.axis_of_weight(node)))


def _bias(writer: _DynamicWriter, node: ir.Node, channels: int) -> tuple[ir.Value | None, ir.Value | None]:
    """Return the bias of Gemm as (bias for DynamicQuantizeMatMul, bias for an Add); at least one is None."""
    value = node.inputs[2] if node.op_type == "Gemm" and len(node.inputs) > 2 else None
    array = constant(value)
    if value is None or array is None or not is_constant(value) or array.size != channels:
        return None, value
    if array.ndim == 1:
        return value, None
    if array.shape[-1:] not in ((), (channels,)):
        return None, value
    return writer.constant(f"{value.name}_vector", array.reshape(channels)), None


def _add(writer: _DynamicWriter, node: ir.Node, product: ir.Value, bias: ir.Value | None) -> ir.Value:
    if bias is None:
        return product
    return writer.node("Add", [product, bias], [f"{node.outputs[0].name}_sum"], before=node)[0]


_PRODUCTS = ("matmul", "integer")

# The name of each form in the log, and the function that writes it.
_FORMS: Mapping[str, tuple[str, Callable[[_DynamicWriter, ir.Node], None]]] = {
    "matmul": ("DynamicQuantizeMatMul", _write_matmul),
    "integer": ("DynamicQuantizeLinear and MatMulInteger", _write_integer),
    "lstm": ("DynamicQuantizeLSTM", _write_lstm),
    "weights": ("int8 weights, float arithmetic", _write_weights),
}
