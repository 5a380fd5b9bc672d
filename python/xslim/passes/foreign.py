"""Replace operators of onnxruntime's optimiser by standard operators.

Later steps then have to handle one form of every operator only. `xslim.passes.fusion` fuses standard
operators again if the target has the fused operator. Operators that are not in the table stay as they are.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from xslim.graph.ops import opset
from xslim.passes.replacement import Maker, Replacement, Table, replace_operators
from xslim.passes.rules.base import Refusal

logger = logging.getLogger(__name__)

MICROSOFT = "com.microsoft"
GELU_OPSET, LAYER_NORM_OPSET, AXES_AS_INPUT, RMS_NORM_OPSET, ROTARY_OPSET = 20, 17, 18, 23, 23
BOUNDS_AS_INPUT = 11
OLDEST = 9
"""The oldest opset with all operators that the replacements use."""


def replace_foreign(model: ir.Model, *, unpack: bool = False) -> None:
    """Replace operators of onnxruntime by those of the standard, in the main graph and in nested ones.

    Parameters
    ----------
    model : onnx_ir.Model
        Changed in place; types should be known.
    unpack : bool
        Whether operators with weights of their own are replaced as well, so that the weights can become int8.
    """
    if opset(model) < OLDEST:
        return
    if done := replace_operators(model, STANDARD, unpack=unpack):
        counts = ", ".join(f"{count} {name}" for name, count in sorted(done.items()))
        logger.info("operators of onnxruntime written in those of ONNX: %s", counts)


def _gelu(m: Maker, x: ir.Value) -> ir.Value:
    if m.version >= GELU_OPSET:
        return m.op("Gelu", x)
    erf = m.op("Erf", m.op("Mul", x, m.number(math.sqrt(0.5), x)))
    return m.op("Mul", m.op("Mul", x, m.op("Add", erf, m.number(1, x))), m.number(0.5, x))


def _tanh_gelu(m: Maker, x: ir.Value) -> ir.Value:
    if m.version >= GELU_OPSET:
        return m.op("Gelu", x, approximate="tanh")
    cube = m.op("Mul", x, m.op("Mul", x, x))
    inner = m.op("Add", x, m.op("Mul", cube, m.number(0.044715, x)))
    tanh = m.op("Tanh", m.op("Mul", inner, m.number(math.sqrt(2 / math.pi), x)))
    return m.op("Mul", m.op("Mul", x, m.op("Add", tanh, m.number(1, x))), m.number(0.5, x))


def _mean(m: Maker, x: ir.Value) -> ir.Value:
    if m.version >= AXES_AS_INPUT:
        return m.op("ReduceMean", x, m.constant(np.array([-1])), keepdims=1)
    return m.op("ReduceMean", x, axes=[-1], keepdims=1)


def _layer_norm(m: Maker, x: ir.Value, gamma: ir.Value, beta: ir.Value | None, epsilon: float) -> ir.Value:
    if m.version >= LAYER_NORM_OPSET:
        return m.op("LayerNormalization", x, gamma, beta, axis=-1, epsilon=epsilon)
    centred = m.op("Sub", x, _mean(m, x))
    variance = _mean(m, m.op("Mul", centred, centred))
    root = m.op("Sqrt", m.op("Add", variance, m.number(epsilon, x)))
    scaled = m.op("Mul", m.op("Div", centred, root), gamma)
    return scaled if beta is None else m.op("Add", scaled, beta)


def _rms_norm(m: Maker, x: ir.Value, gamma: ir.Value, epsilon: float) -> ir.Value:
    if m.version >= RMS_NORM_OPSET:
        return m.op("RMSNormalization", x, gamma, axis=-1, epsilon=epsilon)
    root = m.op("Sqrt", m.op("Add", _mean(m, m.op("Mul", x, x)), m.number(epsilon, x)))
    return m.op("Mul", m.op("Div", x, root), gamma)


def _epsilon(m: Maker, default: float) -> float:
    value = m.node.attributes.get_float("epsilon", default)
    assert value is not None
    return value


def _require_last_axis(m: Maker, x: ir.Value) -> None:
    axis = m.node.attributes.get_int("axis", -1)
    if axis not in (-1, m.rank(x) - 1):
        raise Refusal(f"it normalises from axis {axis}")


def _sum(m: Maker, bias: int) -> ir.Value:
    """Add input, skip connection and, if there is one, bias."""
    total, extra = m.op("Add", m.needed(0), m.needed(1)), m.given(bias)
    return total if extra is None else m.op("Add", total, extra)


def _skip_layer_norm(m: Maker) -> Sequence[ir.Value | None]:
    m.require_unused(1, 2)
    total = _sum(m, 4)
    return [_layer_norm(m, total, m.needed(2), m.given(3), _epsilon(m, 1e-12)), None, None, total]


def _skip_rms_norm(m: Maker) -> Sequence[ir.Value | None]:
    m.require_unused(1, 2)
    total = _sum(m, 3)
    return [_rms_norm(m, total, m.needed(2), _epsilon(m, 1e-12)), None, None, total]


def _old_layer_norm(m: Maker) -> Sequence[ir.Value | None]:
    m.require_unused(1, 2)
    x = m.needed(0)
    _require_last_axis(m, x)
    return [_layer_norm(m, x, m.needed(1), m.given(2), _epsilon(m, 1e-5))]


def _old_rms_norm(m: Maker) -> Sequence[ir.Value | None]:
    m.require_unused(1)
    x = m.needed(0)
    _require_last_axis(m, x)
    return [_rms_norm(m, x, m.needed(1), _epsilon(m, 1e-5))]


def _with_bias(m: Maker) -> ir.Value:
    x, bias = m.needed(0), m.given(1)
    return x if bias is None else m.op("Add", x, bias)


def _quick_gelu(m: Maker) -> Sequence[ir.Value | None]:
    x = m.needed(0)
    alpha = m.node.attributes.get_float("alpha", 1.702)
    assert alpha is not None
    return [m.op("Mul", x, m.op("Sigmoid", m.op("Mul", x, m.number(alpha, x))))]


def _product(m: Maker) -> Sequence[ir.Value | None]:
    operands = [
        _turned(m, m.needed(position), m.flag(f"trans{side}"), m.flag(f"transBatch{side}"))
        for position, side in enumerate("AB")
    ]
    product = m.op("MatMul", *operands)
    alpha = m.node.attributes.get_float("alpha", 1.0)
    assert alpha is not None
    return [product if alpha == 1 else m.op("Mul", product, m.number(alpha, m.needed(0)))]


def _turned(m: Maker, value: ir.Value, matrix: bool, batch: bool) -> ir.Value:
    if not (matrix or batch):
        return value
    axes = list(range(m.rank(value)))
    if batch and len(axes) > 2:
        axes = [*axes[1:-1], axes[0], axes[-1]]
    if matrix and len(axes) > 1:
        axes[-2:] = axes[:-3:-1]
    return m.op("Transpose", value, perm=axes)


# The attributes of a fused activation that its parameters stand for, in order.
_ACTIVATIONS: Mapping[str, tuple[str, ...]] = {
    "Elu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "LeakyRelu": ("alpha",),
    "Relu": (),
    "Selu": ("alpha", "gamma"),
    "Sigmoid": (),
    "Softplus": (),
    "Softsign": (),
    "Tanh": (),
    "ThresholdedRelu": ("alpha",),
}


def _activated(m: Maker, x: ir.Value, parameters: Sequence[float]) -> ir.Value:
    name = m.node.attributes.get_string("activation", "") or ""
    if name == "":
        return x
    if name == "Clip" and m.version >= BOUNDS_AS_INPUT:
        return m.op("Clip", x, *(m.number(bound, m.needed(0)) for bound in parameters))
    if name not in _ACTIVATIONS:
        raise Refusal(f"its activation is {name}")
    attributes: dict[str, Any] = dict(zip(_ACTIVATIONS[name], parameters, strict=False))
    return m.op(name, x, **attributes)


def _fused_conv(m: Maker) -> Sequence[ir.Value | None]:
    m.needed(0)
    inputs = (m.given(0), m.given(1), m.given(2))
    result = m.op("Conv", *inputs, **m.attributes("activation", "activation_params"))
    added = m.given(3)
    if added is not None:
        result = m.op("Add", result, added)
    return [_activated(m, result, m.node.attributes.get_floats("activation_params", ()) or ())]


def _fused_gemm(m: Maker) -> Sequence[ir.Value | None]:
    names = ("activation_alpha", "activation_beta", "activation_gamma")
    m.needed(0)
    inputs = (m.given(0), m.given(1), m.given(2))
    result = m.op("Gemm", *inputs, **m.attributes("activation", *names))
    parameters = (m.node.attributes.get_float(name) for name in names)
    return [_activated(m, result, [item for item in parameters if item is not None])]


def _rotary(m: Maker) -> Sequence[ir.Value | None]:
    x, positions, cosine, sine = (m.needed(position) for position in range(4))
    read = m.node.attributes
    if m.version < ROTARY_OPSET or m.rank(positions) != 2:
        raise Refusal(f"the standard has it from opset {ROTARY_OPSET}, with one position per token")
    if read.get_float("scale", 1.0) != 1 or m.flag("is_packed_batching"):
        raise Refusal("it scales, or packs its batch")
    kept = {name: item for name, item in m.attributes("scale", "is_packed_batching").items() if item}
    if m.rank(x) == 3 and "num_heads" not in kept:
        raise Refusal("the number of heads is not stated")
    return [m.op("RotaryEmbedding", x, cosine, sine, positions, **kept)]


def _attention(m: Maker) -> Sequence[ir.Value | None]:
    """Compute queries, keys and values in one product before a MultiHeadAttention."""
    x, weights, bias, mask = m.needed(0), m.needed(1), m.given(2), m.given(3)
    m.require_unused(1)
    if any(m.given(position) is not None for position in (4, 6)) or m.flag("do_rotary"):
        raise Refusal("it has a past or rotates")
    if mask is not None and m.rank(mask) != 2 and not _holds_lengths(mask, x):
        raise Refusal("its mask is neither one of tokens nor lengths")
    product = m.op("MatMul", x, weights)
    if bias is not None:
        product = m.op("Add", product, bias)
    sizes = m.node.attributes.get_ints("qkv_hidden_sizes")
    if sizes is None:
        width = weights.shape[1] if weights.shape is not None else None
        if not isinstance(width, int):
            raise Refusal("the size of its weights is unknown")
        sizes = [width // 3] * 3
    parts = m.split(product, sizes)
    kept = {"num_heads", "unidirectional", "scale", "mask_filter_value"}
    attributes = {name: item for name, item in m.attributes().items() if name in kept}
    return [m.op("MultiHeadAttention", *parts, None, mask, m.given(5), domain=MICROSOFT, **attributes)]


def _holds_lengths(mask: ir.Value, x: ir.Value) -> bool:
    """Whether a one-dimensional mask holds one length per sample, and not starts and ends."""
    maker = mask.producer()
    if maker is not None and maker.op_type == "EmbedLayerNormalization":
        return True
    if mask.shape is None or x.shape is None or len(mask.shape) != 1:
        return False
    return bool(mask.shape[0] == x.shape[0])


STANDARD: Table = {
    (MICROSOFT, "Gelu"): Replacement(lambda m: [_gelu(m, m.needed(0))]),
    (MICROSOFT, "BiasGelu"): Replacement(lambda m: [_gelu(m, _with_bias(m))]),
    (MICROSOFT, "FastGelu"): Replacement(lambda m: [_tanh_gelu(m, _with_bias(m))]),
    (MICROSOFT, "QuickGelu"): Replacement(_quick_gelu),
    (MICROSOFT, "SkipLayerNormalization"): Replacement(_skip_layer_norm),
    (MICROSOFT, "SkipSimplifiedLayerNormalization"): Replacement(_skip_rms_norm),
    # onnxruntime defines these two in the standard domain for every opset.
    ("", "LayerNormalization"): Replacement(_old_layer_norm, LAYER_NORM_OPSET),
    ("", "SimplifiedLayerNormalization"): Replacement(_old_rms_norm),
    (MICROSOFT, "FusedMatMul"): Replacement(_product),
    (MICROSOFT, "TransposeMatMul"): Replacement(_product),
    (MICROSOFT, "FusedConv"): Replacement(_fused_conv),
    (MICROSOFT, "FusedGemm"): Replacement(_fused_gemm),
    (MICROSOFT, "RotaryEmbedding"): Replacement(_rotary),
    (MICROSOFT, "Attention"): Replacement(_attention, packed=True),
}
