"""Coordinate search of activation ranges for the least error of the outputs.

Scales are inputs of the quantised model, so all trials use one session. The measured error is that of the
outputs and of some inner tensors, whose many values prevent the search from fitting chance. The search visits
the ranges in turn, from the outputs towards the inputs, and narrows or widens each step by step as long as
the error falls. The search runs on few samples, which may lack the largest values of the others. A range is
therefore narrowed only as far as the values beyond it, of all calibration samples, add less noise than
rounding did at first.

Source: Nahshan et al., "Loss Aware Post-Training Quantization", 2021 (arXiv:1911.07190), where step sizes are
optimised for the loss of the whole network, one coordinate after another.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.graph.ops import is_constant
from xslim.graph.outputs import with_outputs
from xslim.graph.quantizers import Pair, quantizer_pairs
from xslim.graph.scheme import QuantParams, QuantPlan, TensorGroup, representable
from xslim.kernels import ErrorMetrics, Sketch
from xslim.refinement.candidate import Candidate, Material
from xslim.refinement.effort import LEAST_PROGRESS, PROBES, RANGE_STEPS
from xslim.refinement.judge import output_errors
from xslim.runtime import Feeds, Session, copied, thread_count

Scale = NDArray[np.float32]

BINS = 2048
"""Number of bins of the histograms with which clipped values are counted."""
SKETCH_BIN = 2.0**-7
"""Width of a bin of a sketch, at most, over the magnitude of its values."""
LEAST_NARROWING = 1 / 64
"""A range is never narrowed further than to this fraction."""
SLACK = 1e-6
"""Share by which a scale may miss its limit, as scales are float32."""


@dataclass(frozen=True)
class Trials:
    """The limits of a search.

    Attributes
    ----------
    sweeps : int
        Largest number of rounds; a round visits every range once.
    runs : int
        Largest number of runs of the model in total.
    """

    sweeps: int
    runs: int


def reconstruct(start: Candidate, material: Material) -> Candidate:
    """Search the ranges of activations on samples for fitting, as many as there are for judging."""
    data, effort = material.data, material.effort
    shard = (0, material.judge.split.stride or 1)
    feeds = list(data.samples(material.settings.batch_size, thread_count(), shard))
    old = start.quantization.activations
    scales = {name: params.scale for name, params in old.items()}
    trials = Trials(sweeps=effort.range_sweeps, runs=effort.range_runs * data.runs)
    least = {
        group.name: least_scale(old[group.name], [material.sketches[name] for name in group.observed])
        for group in start.plan.groups
        if group.name in old and group.fixed_range is None
    }
    found = search_ranges(
        material.export(start), start.plan, scales, feeds, material.reference, trials, least
    )
    activations = {name: replace(params, scale=found[name]) for name, params in old.items()}
    return start.with_activations(activations)


def search_ranges(
    exported: ir.Model,
    plan: QuantPlan,
    scales: Mapping[str, Scale],
    feeds: Sequence[Feeds],
    reference: ir.Model,
    trials: Trials,
    least: Mapping[str, float] = MappingProxyType({}),
) -> dict[str, Scale]:
    """Search the scales of activations for the least error of the outputs.

    Parameters
    ----------
    exported : onnx_ir.Model
        The quantised model.
    plan : QuantPlan
        The plan, which tells which tensors share a scale.
    scales : mapping of str to float32 array
        Scale of every int8 activation.
    feeds : sequence of feeds
        The samples on which the error is measured.
    reference : onnx_ir.Model
        The float model; its tensors have the same names as those of `exported`.
    trials : Trials
        The limits of the search.
    least : mapping of str to float
        The smallest scale of every group, see `least_scale`; groups without one are not limited.

    Returns
    -------
    dict of str to float32 array
        The best scale for every int8 activation.
    """
    groups = [group for group in plan.groups if group.fixed_range is None and group.name in scales]
    model = _Adjustable(exported, scales, feeds, reference, _probes(groups))
    current = {name: np.asarray(scale, np.float32) for name, scale in scales.items()}
    search = _Search(model, current, least, trials.runs // max(len(feeds), 1))
    for _ in range(trials.sweeps):
        before = search.least
        for group in reversed(groups):
            search.adjust(group)
        if search.least > before * LEAST_PROGRESS:
            break
    return search.scales


def least_scale(params: QuantParams, sketches: Sequence[Sketch]) -> float:
    """Return the smallest scale at which clipping adds at most the noise that rounding adds at the given one.

    Parameters
    ----------
    params : QuantParams
        Scale and zero point of a tensor.
    sketches : sequence of Sketch
        All values of the tensor.
    """
    scale, (low, high) = float(params.scale), params.span
    full = [sketch for sketch in sketches if not sketch.is_empty]
    bins = [_binned(sketch) for sketch in full]

    def clipped(factor: float) -> float:
        return sum(values.clipped(low * factor, high * factor) for values in bins)

    rounding = sum(sketch.count for sketch in full) * scale**2 / 12
    allowed = max(rounding, clipped(1.0))
    factor = 1.0
    while factor > LEAST_NARROWING and clipped(factor) <= allowed:
        factor *= RANGE_STEPS[0]
    return scale * factor / RANGE_STEPS[0] * (1 - SLACK)


@dataclass(frozen=True)
class _Binned:
    """The values of a tensor as counts between edges."""

    edges: NDArray[np.float64]
    counts: NDArray[np.uint64]

    def clipped(self, low: float, high: float) -> float:
        """Return the energy that the values lose if they are clipped to a range."""
        # The outer edge of a bin counts, so that large values are not underestimated.
        lost = np.maximum(self.edges[1:] - high, 0.0) ** 2 + np.maximum(low - self.edges[:-1], 0.0) ** 2
        return float(lost @ self.counts)


def _binned(sketch: Sketch) -> _Binned:
    # A sketch knows its values up to the width of its bins.
    margin = SKETCH_BIN * max(abs(sketch.min), abs(sketch.max))
    if margin == 0:
        # All values are zero, which is within every range.
        return _Binned(np.zeros(2), np.array([sketch.count], np.uint64))
    edges = np.linspace(sketch.min - margin, sketch.max + margin, BINS + 1)
    return _Binned(edges, sketch.histogram(BINS, edges[0], edges[-1]))


class _Search:
    """The state of a search: the best scales so far, and the number of trials that are left."""

    def __init__(
        self, model: _Adjustable, scales: dict[str, Scale], least_scales: Mapping[str, float], trials: int
    ) -> None:
        self._model = model
        self._least_scales = least_scales
        self._left = trials - 1
        self.scales = scales
        self.least = model.error(scales)

    def adjust(self, group: TensorGroup) -> None:
        """Narrow or else widen one range while the error falls; one that ends at a clamp is only narrowed."""
        bounded = group.clamp is not None and np.isfinite(group.clamp[1])
        for step in RANGE_STEPS[: 1 if bounded else 2]:
            if self._move(group, step):
                while self._move(group, step):
                    pass
                return

    def _move(self, group: TensorGroup, step: float) -> bool:
        if self._left <= 0 or self.scales[group.name] * step < self._least_scales.get(group.name, 0.0):
            return False
        self._left -= 1
        changed = {name: np.asarray(self.scales[name] * step, np.float32) for name in group.tensors}
        trial = {**self.scales, **changed}
        error = self._model.error(trial)
        if error > self.least * LEAST_PROGRESS:
            return False
        self.least, self.scales = error, trial
        return True


class _Adjustable:
    """A quantised model whose activation scales are inputs."""

    def __init__(
        self,
        exported: ir.Model,
        scales: Collection[str],
        feeds: Sequence[Feeds],
        reference: ir.Model,
        probes: Sequence[str],
    ) -> None:
        model = exported.clone()
        outputs = [value.name or "" for value in exported.graph.outputs]
        pairs = dict(quantizer_pairs(model.graph))
        restored = {name: restore.outputs[0] for name, (_, restore) in pairs.items()}
        probes = [name for name in probes if name in restored and name not in outputs]
        self._tensors = _open_scales(model.graph, pairs, scales)
        self._half = {value.name for value in model.graph.inputs if value.dtype == ir.DataType.FLOAT16}
        model.graph.outputs.extend(restored[name] for name in probes)
        names = [*outputs, *(restored[name].name or "" for name in probes)]
        self._session = Session(model, names, threads=1, qdq_as_written=True)
        self._feeds = feeds
        shown = with_outputs(reference, [*outputs, *probes])
        session = Session(shown, [*outputs, *probes], threads=1)
        self._expected = [copied(row) for row in session.run_all(feeds)]
        self._weights = [1.0] * len(outputs) + [1.0 / len(probes) for _ in probes]

    def error(self, scales: Mapping[str, Scale]) -> float:
        """Return noise over signal energy, summed over the outputs, plus its mean over the inner tensors."""
        given = {name: self._given(scales[tensor], name) for name, tensor in self._tensors.items()}
        fed = self._session.run_all([{**feeds, **given} for feeds in self._feeds])
        rows = output_errors(fed, self._expected)
        totals = [_merged(column) for column in zip(*rows, strict=True)]
        return sum(
            weight * total.noise_energy / max(total.reference_energy, 1e-30)
            for weight, total in zip(self._weights, totals, strict=True)
        )

    def _given(self, scale: Scale, name: str) -> NDArray[np.generic]:
        """Return a scale in the type of its input, rounded as in the export."""
        return representable(scale, np.float16 if name in self._half else np.float32)


def _merged(parts: Sequence[ErrorMetrics]) -> ErrorMetrics:
    total = ErrorMetrics()
    for part in parts:
        total.merge(part)
    return total


def _probes(groups: Sequence[TensorGroup]) -> list[str]:
    """Choose inner tensors whose error is measured too, so that the search does not fit chance."""
    later = groups[len(groups) // 2 :]
    return [group.name for group in later[:: max(1, math.ceil(len(later) / PROBES))]]


def _open_scales(graph: ir.Graph, pairs: Mapping[str, Pair], known: Collection[str]) -> dict[str, str]:
    """Turn the scales of activations into inputs; return the quantised tensor for each input."""
    opened: dict[str, str] = {}
    for tensor, (quantize, _) in pairs.items():
        scale = quantize.inputs[1]
        if tensor not in known or scale is None or not is_constant(scale):
            continue
        del graph.initializers[scale.name or ""]
        scale.const_value = None
        graph.inputs.append(scale)
        opened[scale.name or ""] = tensor
    return opened
