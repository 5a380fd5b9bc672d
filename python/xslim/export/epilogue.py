"""Model the fp16 epilogue of the SpaceMIT provider: int8 convolutions and products are scaled in float16.

The provider accumulates in int32, scales the sum to float16, adds the bias in float16, and quantises. The
rewritten graph rounds at the same places. It is a model of the chip, not a measurement of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from xslim.graph.editing import GraphEditor
from xslim.graph.ops import attribute, static_shape

LARGEST = 65504.0
"""The largest finite float16."""
SWITCH = "SPACEMIT_EP_DISABLE_FLOAT16_EPILOGUE=1"
"""The option of the provider that scales in float32."""


@dataclass(frozen=True)
class Epilogues:
    """A model with float16 epilogues.

    Attributes
    ----------
    model : onnx_ir.Model
        The rewritten model, which has one more output for each rewritten operator.
    peaks : dict of str to str
        The added outputs, which hold the largest magnitude before the scaled sum becomes float16, with the
        names of their operators.
    """

    model: ir.Model
    peaks: dict[str, str]


def with_fp16_epilogues(model: ir.Model) -> Epilogues:
    """Round the result of every int8 Conv, Gemm and MatMul of a QDQ model to float16.

    Parameters
    ----------
    model : onnx_ir.Model
        A quantised model; it is not changed.

    Returns
    -------
    Epilogues
        The rewritten copy.
    """
    copy = model.clone()
    editor = GraphEditor(copy.graph)
    peaks = {}
    for node in list(copy.graph):
        if _has_epilogue(node):
            name = node.name or node.outputs[0].name or ""
            peak = _round(node, editor)
            peaks[peak.name or ""] = name
            copy.graph.outputs.append(peak)
    copy.graph.sort()
    return Epilogues(copy, peaks)


def _has_epilogue(node: ir.Node) -> bool:
    """Whether a node multiplies int8 by int8 and adds at most one bias."""
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul") or node.domain not in ("", "ai.onnx"):
        return False
    operands = [value.producer() if value is not None else None for value in node.inputs[:2]]
    if any(producer is None or producer.op_type != "DequantizeLinear" for producer in operands):
        return False
    return node.op_type != "Gemm" or attribute(node, "beta") in (None, 1.0)


def _round(node: ir.Node, editor: GraphEditor) -> ir.Value:
    """Insert the roundings behind a node; return the largest magnitude of the scaled sums."""
    result = node.outputs[0]
    stem, readers = result.name or "", list(result.uses())
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is not None:
        node.replace_input_with(2, None)
    dtype = _sum_in_float32(node, editor)
    scaled = _half(result, f"{stem}_scaled", editor, dtype if bias is None else ir.DataType.FLOAT)
    if bias is not None:
        [total] = editor.node("Add", [scaled, _half(_aligned(node, bias, editor), f"{stem}_bias", editor)],
                              [f"{stem}_biased"])  # fmt: skip
        scaled = _half(total, f"{stem}_sum", editor, dtype)
    scaled.type, scaled.shape = ir.TensorType(dtype), result.shape
    result.type = ir.TensorType(ir.DataType.FLOAT)
    for user, index in readers:
        user.replace_input_with(index, scaled)
    if result.is_graph_output():
        editor.take_place(result, scaled, f"{stem}_float32")
    [size] = editor.node("Abs", [result], [f"{stem}_magnitude"])
    [peak] = editor.node("ReduceMax", [size], [f"{stem}_peak"], attributes={"keepdims": 0})
    peak.type, peak.shape = ir.TensorType(ir.DataType.FLOAT), ir.Shape([])
    return peak


def _sum_in_float32(node: ir.Node, editor: GraphEditor) -> ir.DataType:
    """Let a node of a float16 model sum in float32; return the type of its result in the model.

    Sums in float16 are rounded already, and infinite where the peak has to tell how large they are.
    """
    operands = [value for value in node.inputs if value is not None]
    # DequantizeLinear returns the type of its scale.
    scales = [operand.inputs[1] for value in operands if (operand := value.producer()) is not None]
    dtype = next((scale.dtype for scale in scales if scale is not None and scale.dtype), ir.DataType.FLOAT)
    if dtype != ir.DataType.FLOAT:
        for index, value in enumerate(operands):
            [wide] = editor.node(
                "Cast", [value], [f"{value.name}_float32"], attributes={"to": ir.DataType.FLOAT}
            )
            node.replace_input_with(index, wide)
    return dtype


def _half(
    value: ir.Value, stem: str, editor: GraphEditor, dtype: ir.DataType = ir.DataType.FLOAT
) -> ir.Value:
    """Round to float16, by default in float32: onnxruntime has no float16 kernels of some operators."""
    [half] = editor.node("Cast", [value], [f"{stem}_fp16"], attributes={"to": ir.DataType.FLOAT16})
    [wide] = editor.node("Cast", [half], [f"{stem}_rounded"], attributes={"to": dtype})
    return wide


def _aligned(node: ir.Node, bias: ir.Value, editor: GraphEditor) -> ir.Value:
    """Return the bias in a shape that broadcasts along the channels of the result."""
    if node.op_type not in ("Conv", "ConvTranspose"):
        return bias
    weight = node.inputs[1]
    rank = len(static_shape(weight) or (0,) * 4) if weight is not None else 4
    shape = editor.constant(f"{bias.name}_shape", np.array([1, -1, *(1,) * (rank - 2)], np.int64))
    [aligned] = editor.node("Reshape", [bias, shape], [f"{bias.name}_aligned"])
    return aligned
