"""Cross-layer equalisation: channels of small range are enlarged before the quantiser and shrunk after it.

All channels of an activation share one scale, so a channel whose range is a tenth of the largest uses a tenth
of the levels. If channel `c` is multiplied by ``1 / s_c`` where it is written and by ``s_c`` where it is
read, the network computes the same. The noise in the results of the readers is proportional to ``sum_c s_c^2
|w_c|^2`` for a given step, and ``s_c`` cannot be smaller than the channel's range without clipping. The noise
is therefore least if ``s_c`` equals the range. The weights then differ more in size, which costs little
accuracy: they have a scale per output channel and are rounded with feedback. A `strength` below 1 leaves a
part of the difference in the activations.

Sources: Nagel et al., "Data-Free Quantization", ICCV 2019 (arXiv:1906.04721), section 4.1; Meller et al.,
"Same, Same But Different", ICML 2019 (arXiv:1902.01917); Xiao et al., "SmoothQuant", ICML 2023
(arXiv:2211.10438) for normalisation and products.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.editing import GraphEditor
from xslim.graph.linear import LAYOUTS
from xslim.graph.ops import constant, is_constant, scalar
from xslim.graph.scheme import QuantPlan
from xslim.quantization.channels import PINNED, Channels, Variables, trace_channels

FLOOR = 1 / 64
"""Least range of a channel as a fraction of the tensor's range; channels of smaller range are treated as
having this range, because enlarging them more gains nothing and is less robust."""

SATURATING = 0.8
"""A channel whose range exceeds this fraction of a clamp's bound is treated as if it reached the bound."""

Vector = NDArray[np.float64]


def channels_to_observe(model: ir.Model, plan: QuantPlan) -> dict[str, int]:
    """Return the tensors whose ranges per channel equalisation needs, with their channel axis."""
    channels = trace_channels(model.graph)
    quantized = [name for group in plan.groups if group.fixed_range is None for name in group.tensors]
    return {
        name: channels[name].axis
        for name in quantized
        if name in channels and (channels[name].ids != PINNED).any()
    }


def equalize(
    model: ir.Model, ranges: Mapping[str, Vector], strength: float = 1.0
) -> tuple[ir.Model, dict[str, Vector]]:
    """Return a copy of the model that computes the same with channels of similar range.

    Parameters
    ----------
    model : onnx_ir.Model
        The prepared float model.
    ranges : mapping of str to float64 array
        Largest magnitude per channel of the tensors of `channels_to_observe`.
    strength : float
        0 changes nothing, 1 makes all ranges equal as far as operators allow it.

    Returns
    -------
    model : onnx_ir.Model
    scales : dict of str to float64 array
        The divisor of every channel, for every tensor with channels.
    """
    equalized = model.clone()
    channels = trace_channels(equalized.graph)
    clamps = _clamps(equalized.graph)
    scales = _solve(channels, ranges, clamps, strength)
    vectors = {name: scales[item.ids] for name, item in channels.items()}
    for node in list(equalized.graph):
        apply = _APPLY.get(node.op_type)
        if apply is not None:
            apply(node, _scale_of(node.inputs[0], vectors), _scale_of(node.outputs[0], vectors))
    for name, (node, bound) in clamps.items():
        if name in vectors and (vectors[name] != 1.0).any():
            _move_bound(node, _bound_after(ranges.get(name), vectors[name], bound))
    return equalized, vectors


def _scale_of(value: ir.Value | None, vectors: Mapping[str, Vector]) -> Vector | None:
    vector = vectors.get(value.name or "") if value is not None else None
    return None if vector is None or (vector == 1.0).all() else vector


def _clamps(graph: ir.Graph) -> dict[str, tuple[ir.Node, float]]:
    """Return the outputs of clamps with an upper bound, each with its node and the bound."""
    found = {}
    for node in graph:
        bound = scalar(node.inputs[2]) if node.op_type == "Clip" and len(node.inputs) > 2 else None
        if bound is not None and node.outputs[0].name:
            found[node.outputs[0].name] = (node, bound)
    return found


def _solve(
    channels: Mapping[str, Channels],
    ranges: Mapping[str, Vector],
    clamps: Mapping[str, tuple[ir.Node, float]],
    strength: float,
) -> Vector:
    """Compute the scale of every variable; tensors whose clamp cannot be scaled along are pinned."""
    pinned: set[str] = set()
    while True:
        scales = _scales(channels, ranges, clamps, pinned, strength)
        stuck = {
            name
            for name, (_, bound) in clamps.items()
            if name in channels and not _can_follow(ranges.get(name), scales[channels[name].ids], bound)
        }
        if stuck <= pinned:
            return scales
        pinned |= stuck


def _scales(
    channels: Mapping[str, Channels],
    ranges: Mapping[str, Vector],
    clamps: Mapping[str, tuple[ir.Node, float]],
    pinned: set[str],
    strength: float,
) -> Vector:
    count = 1 + max((int(item.ids.max(initial=0)) for item in channels.values()), default=0)
    totals, weights = np.zeros(count), np.zeros(count)
    for name, given in ranges.items():
        largest = given.max(initial=0.0)
        if name not in channels or len(given) != len(channels[name].ids) or largest <= 0:
            continue
        bound = clamps[name][1] if name in clamps else np.inf
        reach = np.where(given >= SATURATING * bound, bound, given)
        np.add.at(totals, channels[name].ids, np.log(np.maximum(reach, FLOOR * largest)))
        np.add.at(weights, channels[name].ids, 1.0)
    fixed = {PINNED} | {int(i) for name in pinned for i in channels[name].ids}
    free = weights > 0
    free[list(fixed)] = False
    logs = np.where(free, totals / np.maximum(weights, 1.0), 0.0)
    logs -= np.where(free, _levels(channels, ranges, fixed, count), 0.0)
    return np.exp(strength * logs)


def _levels(
    channels: Mapping[str, Channels], ranges: Mapping[str, Vector], fixed: set[int], count: int
) -> Vector:
    """Return per variable the logarithm of the target range, that of the pinned channels in its tensors."""
    linked = Variables()
    linked.fresh(count - 1)
    highest: dict[int, float] = {}
    used = [name for name in ranges if name in channels and len(ranges[name]) == len(channels[name].ids)]
    for name in used:
        free = np.array([i for i in channels[name].ids.tolist() if i not in fixed], np.int64)
        if free.size:
            linked.equate(free, np.full_like(free, free[0]))
    for name in used:
        ids = channels[name].ids
        held = np.array([i in fixed for i in ids.tolist()])
        if held.any() and not held.all():
            root = linked.root(int(ids[~held][0]))
            highest[root] = max(highest.get(root, 0.0), float(ranges[name][held].max()))
    levels = {root: float(np.log(value)) for root, value in highest.items() if value > 0}
    return np.array([levels.get(linked.root(variable), 0.0) for variable in range(count)])


def _can_follow(reach: Vector | None, scale: Vector, bound: float) -> bool:
    """Whether, after scaling, one common bound still clamps the channels that saturate and no others."""
    if (scale == scale[0]).all():
        return True
    if reach is None:
        return False
    saturated = reach >= SATURATING * bound
    if not saturated.any():
        return True
    limits = scale[saturated]
    limit = bound / limits[0]
    return bool(np.allclose(limits, limits[0], rtol=1e-6) and (reach / scale <= limit * (1 + 1e-6)).all())


def _bound_after(reach: Vector | None, scale: Vector, bound: float) -> float:
    saturated = np.zeros(len(scale), bool) if reach is None else reach >= SATURATING * bound
    return float(bound / scale[saturated][0]) if saturated.any() else float((bound / scale).max())


def _move_bound(node: ir.Node, bound: float) -> None:
    old = constant(node.inputs[2])
    assert old is not None
    _replace(node, 2, np.asarray(bound, old.dtype).reshape(old.shape), shared=True)


def _replace(node: ir.Node, position: int, array: NDArray[Any], *, shared: bool = False) -> None:
    """Give a constant input new contents; if the constant has other readers, make a new constant."""
    value = node.inputs[position]
    assert value is not None
    assert value.const_value is not None
    # Sessions read arrays in C order in place, and copy others.
    array = array.astype(value.const_value.numpy().dtype, order="C")
    if not shared and len(value.uses()) == 1:
        value.const_value = ir.tensor(array, name=value.name)
        value.shape = ir.Shape(array.shape)
        return
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    node.replace_input_with(position, GraphEditor(graph).constant(f"{value.name}_{node.name}", array))


def _contents(node: ir.Node, position: int) -> NDArray[Any] | None:
    return constant(node.inputs[position]) if position < len(node.inputs) else None


def _scale_bias(node: ir.Node, position: int, written: Vector | None) -> None:
    bias = _contents(node, position)
    if bias is not None and written is not None:
        _replace(node, position, bias / written)


def _scale_linear(node: ir.Node, read: Vector | None, written: Vector | None) -> None:
    weight = _contents(node, 1)
    if weight is None or (read is None and written is None):
        return
    layout = LAYOUTS[node.op_type](node)
    scaled = weight.astype(np.float64)
    if read is not None:
        scaled *= layout.along_inputs(read, weight.shape)
    if written is not None:
        scaled /= layout.along_outputs(written, weight.shape)
    _replace(node, 1, scaled)
    _scale_bias(node, 2, written)


def _scale_sum(node: ir.Node, _: Vector | None, written: Vector | None) -> None:
    for position, value in enumerate(node.inputs):
        if value is not None and is_constant(value) and written is not None:
            array: NDArray[Any] | None = constant(value)
            assert array is not None
            _replace(node, position, array / written.reshape(_vector_shape(array, len(written))))


def _scale_factor(node: ir.Node, read: Vector | None, written: Vector | None) -> None:
    factor = _contents(node, 1)
    if factor is None or (read is None and written is None):
        return
    one = np.ones(1)
    scale = (one if read is None else read) / (one if written is None else written)
    _replace(node, 1, factor * scale.reshape(_vector_shape(factor, scale.size)))


def _vector_shape(array: NDArray[Any], size: int) -> tuple[int, ...]:
    return tuple(size if length == size else 1 for length in array.shape)


def _scale_normalization(node: ir.Node, _: Vector | None, written: Vector | None) -> None:
    if written is None:
        return
    for position in (1, 2):
        _scale_bias(node, position, written)


Apply = Callable[[ir.Node, Vector | None, Vector | None], None]

_APPLY: Mapping[str, Apply] = {
    **dict.fromkeys(LAYOUTS, _scale_linear),
    "Add": _scale_sum,
    "Mul": _scale_factor,
    "LayerNormalization": _scale_normalization,
}
"""How operators absorb the scales of their inputs and outputs; all other operators pass scales on."""
