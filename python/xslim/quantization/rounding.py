"""Second-order rounding: weights are rounded so that their errors cancel in the layer's output.

Source: Frantar et al., "GPTQ", ICLR 2023 (arXiv:2210.17323). The kernel's documentation lists further
sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import onnx_ir as ir

from xslim.graph.layers import Layer, Vectors, layers, weight_of
from xslim.graph.ops import constant as contents
from xslim.graph.scheme import ConstantPlan, Quantization, QuantizedTensor, QuantParams, QuantPlan
from xslim.kernels import Gram, quantize_per_channel, round_weights
from xslim.runtime import Pool, thread_count

DAMPING = 0.01

SCARCE_DAMPING = 0.1
"""Damping where there are as many vectors as columns; it falls with their number. With a covariance of fewer
vectors than columns, rounding fits chance: 8 samples of 4 vectors lost half a decibel on unseen samples."""


def layers_to_round(model: ir.Model, plan: QuantPlan) -> list[tuple[ConstantPlan, Layer]]:
    """Return the int8 weights that have one scale per output channel and one reader, each with its reader."""
    return list(_roundable(model.graph, plan))


def _roundable(graph: ir.Graph, plan: QuantPlan) -> Iterator[tuple[ConstantPlan, Layer]]:
    found = layers(graph)
    for constant in plan.constants:
        layer = found.get(constant.readers[0])
        if layer is None or len(constant.readers) > 1 or not constant.symmetric:
            continue
        if constant.tensor == layer.weight and constant.axis == (1 if layer.transposed else 0):
            yield constant, layer


def round_to_nearest(model: ir.Model, plan: QuantPlan, quantization: Quantization, bits: int) -> Quantization:
    """Round every weight with one scale per channel to the nearest integer of `bits` bits."""
    if bits == 8:
        return quantization
    constants = dict(quantization.constants)
    for constant in plan.constants:
        if not constant.symmetric or constant.axis is None:
            continue
        weight = contents(model.graph.initializers[constant.tensor])
        assert weight is not None
        values, scales = quantize_per_channel(np.ascontiguousarray(weight), constant.axis, bits=bits)
        params = QuantParams(scales, np.zeros(scales.shape, np.int8), constant.axis)
        constants[constant] = QuantizedTensor(values, params)
    return replace(quantization, constants=constants)


def round_with_feedback(
    model: ir.Model,
    plan: QuantPlan,
    quantization: Quantization,
    grams: Mapping[Vectors, Gram],
    *,
    bits: int = 8,
    damping: float = DAMPING,
    factors: Sequence[float] = (1.0,),
) -> Quantization:
    """Round every weight whose input vectors have a usable Gram matrix.

    Parameters
    ----------
    model : onnx_ir.Model
        The float model that holds the weights.
    plan, quantization
        The plan, and its numbers with weights rounded to nearest. Weights without a usable matrix stay so.
    grams : mapping of Vectors to Gram
        Gram matrices of the inputs of `layers_to_round`.
    bits : int
        Width of the integers.
    damping : float
        Added to the diagonal of the covariance, as a fraction of the diagonal's mean; more is added if there
        are few vectors.
    factors : sequence of float
        Multiples of the scale to try; each channel keeps the best.
    """
    by_gram: dict[Vectors, list[tuple[ConstantPlan, Layer]]] = {}
    for constant, layer in _roundable(model.graph, plan):
        gram = grams.get(layer.vectors)
        if gram is not None and gram.count > 0 and gram.is_finite:
            by_gram.setdefault(layer.vectors, []).append((constant, layer))

    def rounded(vectors: Vectors) -> list[tuple[ConstantPlan, QuantizedTensor]]:
        gram = grams[vectors]
        enough = max(damping, SCARCE_DAMPING * vectors.columns / gram.count)
        found = []
        for constant, layer in by_gram[vectors]:
            weight = weight_of(model.graph, layer)
            matrix = layer.matrix(weight).astype(np.float32)
            values, scales, _ = round_weights(
                matrix, gram, groups=layer.groups, bits=bits, damping=enough, factors=list(factors)
            )
            params = QuantParams(scales, np.zeros(scales.shape, np.int8), constant.axis)
            found.append((constant, QuantizedTensor(layer.restore(values, weight.shape), params)))
        return found

    # A large matrix is factorised in one thread, so layers are rounded side by side.
    with Pool(thread_count(), "xslim-rounding") as pool:
        constants = {**quantization.constants, **dict(chain.from_iterable(pool.map(rounded, by_gram)))}
    return replace(quantization, constants=constants)
