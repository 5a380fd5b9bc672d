"""One small model for every form that an operator of the standard has had since opset 7."""

# A table, one form a line.
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import defs

OLDEST = 7


@dataclass(frozen=True)
class Form:
    """How an operator is written from some opset on.

    `node` is the text of the nodes; `inputs` and `outputs` are the declarations of the graph.
    """

    operator: str
    since: int
    node: str
    inputs: str = "float[2,3,4,6] x"
    outputs: str = "float[] y"
    weights: dict[str, Any] = field(default_factory=dict)


def _i(*numbers: int) -> np.ndarray[Any, Any]:
    return np.array(numbers, np.int64)


def _f(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def _same(operators: str, since: int, node: str, inputs: str = "float[2,3,4,6] x", **weights: Any) -> list[Form]:
    """Forms of operators that are written alike."""
    outputs = weights.pop("outputs", "float[] y")
    return [
        Form(name, since, node.replace("OP", name), inputs, outputs, weights) for name in operators.split()
    ]


_UNARY = (
    "Abs Acos Acosh Asin Asinh Atan Atanh Ceil Cos Cosh Elu Erf Exp Floor HardSigmoid HardSwish Identity LeakyRelu Log "
    "Mish Neg Reciprocal Relu Round Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Tan Tanh ThresholdedRelu Celu "
    "LpNormalization MeanVarianceNormalization GlobalAveragePool GlobalLpPool GlobalMaxPool"
)
REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
_RECURRENT = {"RNN": 1, "GRU": 3, "LSTM": 4}
_QDQ = {"s": np.float32(0.1), "z": np.int8(3)}
_QDQ_AXIS = {"s": np.array([0.1, 0.2, 0.3], np.float32), "z": np.array([0, 1, 2], np.int8)}


def _forms() -> Iterator[Form]:
    yield from _same(_UNARY, 1, "y = OP (x)")
    yield from _same("Max Min Sum Mean", 8, "y = OP (x, c)", c=_f(4, 6))
    yield from _same("Add Sub Mul Div Pow PRelu", 7, "y = OP (x, c)", c=abs(_f(4, 6)) + 0.5)
    yield from _same("Mod", 10, "y = OP <fmod = 1> (x, c)", c=abs(_f(4, 6)) + 0.5)
    yield from _same("BitShift", 11, 'y = OP <direction = "LEFT"> (x, x)', "uint8[4] x", outputs="uint8[] y")
    for since, names in ((7, "Greater Less"), (11, "Equal"), (12, "GreaterOrEqual LessOrEqual")):
        yield from _same(names, since, "y = OP (x, c)", c=_f(4, 6), outputs="bool[] y")
    yield from _same("IsInf", 10, "y = OP (x)", outputs="bool[] y")
    yield from _same("IsNaN", 9, "y = OP (x)", outputs="bool[] y")
    yield from _same("ArgMax ArgMin", 1, "y = OP <axis = 2, keepdims = 0> (x)", outputs="int64[] y")
    yield from _same("Softmax LogSoftmax Hardmax", 1, "y = OP <axis = 1> (x)")
    yield from _same("Softmax LogSoftmax Hardmax", 1, "y = OP (x)")
    for name in REDUCTIONS:
        data = "p = Abs (x)" if name == "LogSum" else "p = Neg (x)"
        yield from _same(f"Reduce{name}", 1, f"{data} y = OP <axes = [1, -1], keepdims = 0> (p)")
        yield from _same(f"Reduce{name}", 1, f"{data} y = OP (p)")
        yield from _same(f"Reduce{name}", 18, f"{data} y = OP <keepdims = 0> (p, a)", a=_i(1, -1))
        yield from _same(f"Reduce{name}", 18, f"{data} y = OP <noop_with_empty_axes = 1> (p)")
    yield from _same("ReduceSum", 1, "y = OP <axes = [1], keepdims = 0> (x)")
    yield from _same("ReduceSum", 13, "y = OP <keepdims = 0> (x, a)", a=_i(1))
    # Windows
    for pool in ("AveragePool", "MaxPool", "LpPool"):
        yield from _same(pool, 1, "y = OP <kernel_shape = [2, 3], pads = [1, 0, 0, 1], strides = [2, 1]> (x)")
    yield from _same("MaxPool", 8, "y, i = OP <kernel_shape = [2, 3], storage_order = 0> (x)", outputs="float[] y, int64[] i")
    for pool, since in (("AveragePool", 10), ("MaxPool", 10), ("LpPool", 18)):
        yield from _same(pool, since, "y = OP <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (x)", "float[1,2,5,7] x")
    for pool, since in (("AveragePool", 19), ("MaxPool", 10), ("LpPool", 18)):
        yield from _same(pool, since, "y = OP <kernel_shape = [2, 2], dilations = [2, 3]> (x)")
    yield from _same("AveragePool", 7, "y = OP <kernel_shape = [2, 3], pads = [1, 1, 1, 1], count_include_pad = 1> (x)")
    yield from _same("Conv", 1, "y = OP <pads = [1, 1, 0, 0], dilations = [1, 2]> (x, w, b)", w=_f(5, 3, 2, 2), b=_f(5))
    yield from _same("ConvTranspose", 1, "y = OP <strides = [2, 2], output_padding = [1, 1]> (x, w)", w=_f(3, 5, 3, 3))
    yield from _same("LRN", 1, "y = OP <size = 3> (x)")
    yield from _same("MaxUnpool", 9, "y = OP <kernel_shape = [2, 2], strides = [2, 2]> (x, i)", "float[1,1,2,2] x", i=np.arange(0, 16, 5).reshape(1, 1, 2, 2))
    yield from _same("MaxRoiPool", 1, "y = OP <pooled_shape = [2, 2]> (x, r)", r=np.array([[0, 0, 0, 3, 3]], np.float32))
    yield from _same("RoiAlign", 10, "y = OP <output_height = 2, output_width = 2, sampling_ratio = 2> (x, r, i)", r=np.array([[0, 0, 3, 3]], np.float32), i=_i(0))
    yield from _same("RoiAlign", 16, 'y = OP <output_height = 2, output_width = 2, coordinate_transformation_mode = "output_half_pixel"> (x, r, i)', r=np.array([[0, 0, 3, 3]], np.float32), i=_i(0))
    yield from _same("RoiAlign", 16, "y = OP <output_height = 2, output_width = 2> (x, r, i)", r=np.array([[0, 0, 3, 3]], np.float32), i=_i(0))
    yield from _same("DeformConv", 19, "y = OP <kernel_shape = [2, 2]> (x, w, o)", w=_f(5, 3, 2, 2), o=_f(2, 8, 3, 5) * 0.1)
    yield from _same("GridSample", 16, 'y = OP <mode = "bilinear"> (x, g)', g=np.tanh(_f(2, 5, 5, 2)))
    yield from _same("GridSample", 16, 'y = OP <mode = "bicubic", padding_mode = "border"> (x, g)', g=np.tanh(_f(2, 5, 5, 2)))
    yield from _same("GridSample", 16, 'y = OP <mode = "nearest", align_corners = 1> (x, g)', g=np.tanh(_f(2, 5, 5, 2)))
    yield from _same("GridSample", 20, 'y = OP <mode = "linear"> (x, g)', g=np.tanh(_f(2, 5, 5, 2)))
    yield from _same("GridSample", 20, 'y = OP <mode = "cubic", padding_mode = "reflection"> (x, g)', g=np.tanh(_f(2, 5, 5, 2)))
    # Sampling
    for mode in ("nearest", "linear"):
        for scales in ([1, 1, 2, 2], [1, 1, 1.5, 3]):
            yield from _same("Upsample", 7, f'y = OP <mode = "{mode}", scales = {list(map(float, scales))}> (x)')
            yield from _same("Upsample", 9, f'y = OP <mode = "{mode}"> (x, s)', s=np.array(scales, np.float32))
        for scales in ([1, 1, 2, 2], [1, 1, 0.5, 0.5], [1, 1, 0.6, 0.7], [1, 1, 0.6, 1.5]):
            yield from _same("Resize", 10, f'y = OP <mode = "{mode}"> (x, s)', "float[2,3,7,9] x", s=np.array(scales, np.float32))
        yield from _same("Resize", 11, f'y = OP <mode = "{mode}"> (x, r, s)', r=_f(0), s=np.array([1, 1, 0.6, 1.5], np.float32))
        yield from _same("Resize", 13, f'y = OP <mode = "{mode}", coordinate_transformation_mode = "align_corners"> (x, , , s)', s=_i(2, 3, 3, 10))
        yield from _same("Resize", 18, f'y = OP <mode = "{mode}", axes = [2, 3]> (x, , , s)', s=_i(7, 9))
        yield from _same("Resize", 18, f'y = OP <mode = "{mode}", axes = [3, 2]> (x, , s)', s=np.array([1.5, 2], np.float32))
        yield from _same("Resize", 18, f'y = OP <mode = "{mode}", axes = [2, 3], keep_aspect_ratio_policy = "not_larger"> (x, , , s)', s=_i(7, 9))
    yield from _same("Resize", 18, 'y = OP <mode = "linear", antialias = 1> (x, , s)', s=np.array([1, 1, 0.5, 0.5], np.float32))
    # Normalisation
    for size in (1, 7, 9):
        yield from _same("BatchNormalization", size, "y = OP <epsilon = 0.01> (x, s, b, m, v)", s=_f(3), b=_f(3, seed=1), m=_f(3, seed=2), v=abs(_f(3)) + 1)
    yield from _same("InstanceNormalization", 1, "y = OP (x, s, b)", s=_f(3), b=_f(3, seed=1))
    yield from _same("GroupNormalization", 18, "y = OP <num_groups = 2> (x, s, b)", "float[2,6,4] x", s=_f(2), b=_f(2, seed=1))
    yield from _same("GroupNormalization", 18, "s = ReduceMean <keepdims = 0> (t, a) y = OP <num_groups = 2> (x, s, b)", "float[2,6,4] x, float[2,2,4] t", b=_f(2, seed=1), a=_i(0, 2))
    yield from _same("GroupNormalization", 21, "y = OP <num_groups = 2> (x, s, b)", "float[2,6,4] x", s=_f(6), b=_f(6, seed=1))
    yield from _same("Dropout", 7, "y = OP (x)")
    yield from _same("Dropout", 7, "y, m = OP (x) k = Cast <to = 7> (m)", outputs="float[] y, int64[] k")
    # Products
    yield from _same("MatMul", 1, "y = OP (x, w)", w=_f(6, 5))
    yield from _same("Gemm", 7, "y = OP <alpha = 0.5, beta = 2.0, transB = 1> (x, w, b)", "float[4,6] x", w=_f(5, 6), b=_f(5))
    yield from _same("Gemm", 11, "y = OP (x, w)", "float[4,6] x", w=_f(6, 5))
    yield from _same("Einsum", 12, 'y = OP <equation = "abcd,de->abce"> (x, w)', w=_f(6, 5))
    yield from _same("Det", 11, "y = OP (x)", "float[2,3,3] x")
    yield from _same("QLinearMatMul", 10, "q = QuantizeLinear (x, s, z) y = OP (q, s, z, w, s, z, s, z)", "float[4,6] x", outputs="int8[] y", w=np.arange(12, dtype=np.int8).reshape(6, 2), **_QDQ)
    for name, gates in _RECURRENT.items():
        yield from _same(name, 7, "y = OP <hidden_size = 4> (x, w, r, b)", "float[5,2,3] x", w=_f(1, 4 * gates, 3), r=_f(1, 4 * gates, 4), b=_f(1, 8 * gates))
        yield from _same(name, 7, "y = OP <hidden_size = 4, direction = \"bidirectional\"> (x, w, r)", "float[5,2,3] x", w=_f(2, 4 * gates, 3), r=_f(2, 4 * gates, 4))
    yield from _same("Attention", 23, "y = OP (x, x, x)", "float[1,2,4,6] x")
    # Numbers and types
    yield from _same("Clip", 6, "y = OP <min = -0.5, max = 0.7> (x)")
    yield from _same("Clip", 6, "y = OP <max = 0.7> (x)")
    yield from _same("Clip", 11, "y = OP (x, l, h)", l=np.float32(-0.5), h=np.float32(0.7))
    yield from _same("Clip", 11, "y = OP (x, , h)", h=np.float32(0.7))
    for to, name in ((7, "int64"), (9, "bool"), (10, "float16")):
        yield from _same("Cast", 6, f"y = OP <to = {to}> (x)", outputs=f"{name}[] y")
    yield from _same("CastLike", 15, "y = OP (x, t)", t=_i(1), outputs="int64[] y")
    yield from _same("QuantizeLinear", 10, "y = OP (x, s, z)", outputs="int8[] y", **_QDQ)
    yield from _same("QuantizeLinear", 13, "y = OP <axis = 1> (x, s, z)", outputs="int8[] y", **_QDQ_AXIS)
    yield from _same("DequantizeLinear", 10, "q = QuantizeLinear (x, s, z) y = OP (q, s, z)", **_QDQ)
    yield from _same("DequantizeLinear", 13, "q = QuantizeLinear (x, s, z) y = OP (q, s, z)", **_QDQ_AXIS)
    yield from _same("DequantizeLinear", 13, "q = QuantizeLinear <axis = 1> (x, s, z) y = OP <axis = 1> (q, s, z)", **_QDQ_AXIS)
    yield from _same("Where", 9, "b = Greater (x, z) y = OP (b, x, c)", z=np.float32(0), c=_f(4, 6))
    yield from _same("OneHot", 9, "y = OP (x, d, v)", "int64[3] x", d=_i(4), v=np.array([0, 1], np.float32))
    yield from _same("EyeLike", 9, "y = OP (x)", "float[3,4] x")
    yield from _same("ConstantOfShape", 9, "n = Shape (x) z = OP <value = float[1] {2.0}> (n) y = Add (x, z)")
    yield from _same("Constant", 1, "c = OP <value = float[1] {2.0}> () y = Add (x, c)")
    yield from _same("Constant", 12, "c = OP <value_float = 2.0> () y = Add (x, c)")
    yield from _same("Range", 11, "y = OP (x, l, d)", "int64 x", l=np.int64(9), d=np.int64(2), outputs="int64[] y")
    # Movement
    yield from _same("Concat", 4, "y = OP <axis = 1> (x, c)", c=_f(2, 1, 4, 6))
    yield from _same("Flatten", 1, "y = OP <axis = 2> (x)")
    yield from _same("Flatten", 11, "y = OP <axis = -1> (x)")
    yield from _same("Transpose", 1, "y = OP <perm = [0, 3, 1, 2]> (x)")
    yield from _same("Reshape", 5, "y = OP (x, s)", s=_i(0, -1, 6))
    yield from _same("Reshape", 14, "y = OP <allowzero = 1> (x, s)", "float[2,3] x", s=_i(3, 2))
    yield from _same("Expand", 8, "y = OP (x, s)", "float[3,1] x", s=_i(2, 3, 4))
    yield from _same("Tile", 6, "y = OP (x, r)", r=_i(1, 2, 1, 3))
    yield from _same("Squeeze", 1, "y = OP <axes = [0, 2]> (x)", "float[1,3,1,2] x")
    yield from _same("Squeeze", 1, "y = OP (x)", "float[1,3,1,2] x")
    yield from _same("Squeeze", 13, "y = OP (x, a)", "float[1,3,1,2] x", a=_i(0, -2))
    yield from _same("Unsqueeze", 1, "y = OP <axes = [0, 3]> (x)")
    yield from _same("Unsqueeze", 13, "y = OP (x, a)", a=_i(0, -1))
    yield from _same("Shape", 1, "y = OP (x)", outputs="int64[] y")
    yield from _same("Shape", 15, "y = OP <start = 1, end = -1> (x)", outputs="int64[] y")
    yield from _same("Size", 1, "y = OP (x)", outputs="int64[] y")
    yield from _same("Split", 2, "y, z = OP <axis = 3, split = [2, 4]> (x)", outputs="float[] y, float[] z")
    yield from _same("Split", 2, "y, z = OP <axis = 2> (x)", outputs="float[] y, float[] z")
    yield from _same("Split", 13, "y, z = OP <axis = 3> (x, s)", outputs="float[] y, float[] z", s=_i(2, 4))
    yield from _same("Split", 18, "y, z, t = OP <axis = 1, num_outputs = 3> (x)", "float[2,7] x", outputs="float[] y, float[] z, float[] t")
    yield from _same("SplitToSequence", 11, "q = OP <axis = 1> (x, s) y = SequenceAt (q, i)", s=_i(1, 2), i=np.int64(1))
    yield from _same("Slice", 1, "y = OP <axes = [2, 3], starts = [1, -4], ends = [3, 100]> (x)")
    yield from _same("Slice", 10, "y = OP (x, b, e, a, s)", b=_i(1, -1), e=_i(3, -7), a=_i(2, 3), s=_i(1, -2))
    yield from _same("Pad", 2, "y = OP <pads = [0, 0, 1, 0, 0, 0, 0, 2], value = 1.5> (x)")
    yield from _same("Pad", 2, 'y = OP <pads = [0, 0, 1, 0, 0, 0, 0, 2], mode = "reflect"> (x)')
    yield from _same("Pad", 11, "y = OP (x, p, v)", p=_i(0, 0, 1, 0, 0, 0, 0, 2), v=np.float32(1.5))
    yield from _same("Pad", 18, "y = OP (x, p, v, a)", p=_i(1, 0, 0, 2), v=np.float32(1.5), a=_i(2, 3))
    yield from _same("Pad", 19, 'y = OP <mode = "wrap"> (x, p)', p=_i(0, 0, 1, 0, 0, 0, 0, 2))
    yield from _same("DepthToSpace", 1, "y = OP <blocksize = 2> (x)", "float[1,8,2,3] x")
    yield from _same("DepthToSpace", 11, 'y = OP <blocksize = 2, mode = "CRD"> (x)', "float[1,8,2,3] x")
    yield from _same("SpaceToDepth", 1, "y = OP <blocksize = 2> (x)")
    yield from _same("Gather", 1, "y = OP <axis = 1> (x, i)", i=_i(2, 0))
    yield from _same("GatherElements", 11, "y = OP <axis = 1> (x, i)", "float[3,4] x", i=np.array([[1, 0], [2, 3]]))
    yield from _same("GatherND", 11, "y = OP (x, i)", i=np.array([[1, 0], [0, 2]]))
    yield from _same("GatherND", 12, "y = OP <batch_dims = 1> (x, i)", i=np.array([[1], [2]]))
    yield from _same("Scatter", 9, "y = OP <axis = 1> (x, i, u)", "float[3,4] x", i=np.array([[1, 0]]), u=_f(1, 2))
    yield from _same("ScatterElements", 11, "y = OP <axis = 1> (x, i, u)", "float[3,4] x", i=np.array([[1, 0]]), u=_f(1, 2))
    yield from _same("ScatterElements", 16, 'y = OP <axis = 1, reduction = "add"> (x, i, u)', "float[3,4] x", i=np.array([[1, 1]]), u=_f(1, 2))
    yield from _same("ScatterND", 11, "y = OP (x, i, u)", "float[3,4] x", i=np.array([[2]]), u=_f(1, 4))
    yield from _same("ScatterND", 16, 'y = OP <reduction = "mul"> (x, i, u)', "float[3,4] x", i=np.array([[2], [2]]), u=_f(2, 4))
    yield from _same("ReverseSequence", 10, "y = OP (x, n)", "float[4,3] x", n=_i(1, 2, 4))
    yield from _same("Compress", 9, "y = OP <axis = 1> (x, c)", c=np.array([True, False, True]))
    yield from _same("NonZero", 9, "y = OP (x)", outputs="int64[] y")
    yield from _same("Unique", 11, "y = OP <axis = 0> (x)", "float[4,2] x")
    yield from _same("TopK", 1, "y, i = OP <k = 2, axis = 3> (x)", outputs="float[] y, int64[] i")
    yield from _same("TopK", 10, "y, i = OP <axis = 3> (x, k)", outputs="float[] y, int64[] i", k=_i(2))
    yield from _same("TopK", 11, "y, i = OP <axis = -1, largest = 0> (x, k)", outputs="float[] y, int64[] i", k=_i(2))
    yield from _same("CumSum", 11, "y = OP <reverse = 1> (x, a)", a=np.int64(1))
    yield from _same("NonMaxSuppression", 10, "y = OP (b, x, k)", "float[1,1,3] x", outputs="int64[] y", b=np.array([[[0, 0, 1, 1], [0, 0, 2, 2], [3, 3, 4, 4]]], np.float32), k=_i(2))
    # Signals, losses, chance
    yield from _same("DFT", 17, "y = OP <axis = 1> (x)", "float[1,8,1] x")
    yield from _same("DFT", 17, "y = OP <axis = 1, onesided = 1> (x)", "float[1,8,1] x")
    yield from _same("DFT", 20, "y = OP (x, , a)", "float[1,8,1] x", a=np.int64(1))
    yield from _same("NegativeLogLikelihoodLoss SoftmaxCrossEntropyLoss", 12, "y = OP (x, t)", "float[3,4] x", t=_i(0, 3, 1))
    yield from _same("RandomNormalLike RandomUniformLike", 1, "r = OP <seed = 1.0> (x) z = Mul (r, n) y = Add (x, z)", n=np.float32(1e-6))
    yield from _same("RandomNormal RandomUniform", 1, "r = OP <shape = [6], seed = 1.0> () z = Mul (r, n) y = Add (x, z)", n=np.float32(1e-6))
    yield from _same("Bernoulli", 15, "r = OP <seed = 1.0> (p) z = Mul (r, n) y = Add (x, z)", n=np.float32(1e-6), p=np.full(6, 0.5, np.float32))
    yield from _same("Multinomial", 7, "r = OP <sample_size = 6, seed = 1.0> (p) f = Cast <to = 1> (r) z = Mul (f, n) y = Add (x, z)", "float[1,6] x", n=np.float32(1e-6), p=np.full((1, 6), 0.5, np.float32))
    # Bodies and containers
    yield from _same("If", 1, "b = Cast <to = 9> (n) y = OP (b) <then_branch = t () => (float[2,3,4,6] p) { p = Relu (x) }, else_branch = e () => (float[2,3,4,6] q) { q = Neg (x) }>", n=np.float32(1))
    yield from _same("Loop", 1, "y = OP <body = b (int64 i, bool c, float[2,3,4,6] a) => (bool d, float[2,3,4,6] e) { d = Identity (c) e = Add (a, a) }> (m, t, x)", m=np.int64(3), t=np.array(True))
    yield from _same("Scan", 9, "y = OP <num_scan_inputs = 1, body = b (float[4,6] a) => (float[4,6] c) { c = Neg (a) }> (x)", "float[3,4,6] x")
    yield from _same("Scan", 8, 'y = OP <num_scan_inputs = 1, body = b (float[4,6] a) => (float[4,6] c) { c = Neg (a) }> ("", x)', "float[2,3,4,6] x")
    yield from _same("Optional", 15, "o = OP (x) y = OptionalGetElement (o)")
    yield from _same("OptionalGetElement", 15, "o = Optional (x) y = OP (o)")
    yield from _same("OptionalHasElement", 15, "o = Optional (x) y = OP (o)", outputs="bool[] y")


FORMS = tuple(_forms())


def changes() -> dict[str, list[int]]:
    """By operator of the standard that changed after `OLDEST`: the opsets in which it is written otherwise.

    The first opset of all is included; opsets that only brought other types are not.
    """
    found: dict[str, dict[int, object]] = {}
    for schema in defs.get_all_schemas_with_history():
        if schema.domain == "" and not schema.deprecated:
            found.setdefault(schema.name, {})[schema.since_version] = _signature(schema)
    return {
        name: [opset for opset, before in zip(sorted(forms), [0, *sorted(forms)], strict=False) if forms[opset] != forms.get(before)]
        for name, forms in found.items()
        if len(forms) > 1 and max(forms) > OLDEST
    }


def _signature(schema: defs.OpSchema) -> object:
    attributes = sorted((name, str(entry.default_value), entry.required) for name, entry in schema.attributes.items())
    return [(value.name, value.option) for value in schema.inputs], [value.name for value in schema.outputs], attributes
