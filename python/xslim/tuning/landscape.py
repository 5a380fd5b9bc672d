"""What every quantiser of a model costs: its noise in the outputs, and the operators that need it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.export.qdq import export_qdq
from xslim.graph.cost import model_cost
from xslim.graph.factors import products
from xslim.graph.outputs import set_outputs, values_by_name
from xslim.graph.scheme import ConstantPlan, Quantization, TensorGroup
from xslim.pipeline.static import StaticResult
from xslim.quantization.bias_correction import correct_biases
from xslim.refinement.float_tensors import with_fused
from xslim.refinement.noise import Noise, attribute_noise
from xslim.refinement.remainders import Changed, Remainder, Remainders
from xslim.runtime import Feeds, Session, array_pairs, copied

MOST_MACS = 600_000_000_000
"""Multiply-accumulates of all runs that measure noise: about 40 seconds on two slow cores."""
FEWEST_PARTS, MOST_PARTS = 64, 256
FEWEST_SAMPLES, MOST_SAMPLES = 4, 16
FAIR_OUTPUTS = 2_000
"""Number of output elements, over all samples, for a reliable figure."""


@dataclass(frozen=True)
class Quantiser:
    """An int8 activation, or an int8 constant.

    Attributes
    ----------
    name : str
        The tensor.
    operators : tuple of str
        The int8 operators that write or read the tensor: all become float if the tensor does.
    noise : tuple of float
        Noise over signal of every output if this tensor alone is int8.
    tensors : tuple of str
        The names to list in ``float_tensors``; empty for constants, which become float with their operators.
    """

    name: str
    operators: tuple[str, ...]
    noise: tuple[float, ...]
    tensors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Landscape:
    """The quantisers of a model and what its operators compute.

    Attributes
    ----------
    quantisers : tuple of Quantiser
        In graph order.
    macs : mapping of str to int
        Multiply-accumulates of the int8 operators.
    total_macs : int
        Those of all operators.
    links : tuple of pair of str
        Pairs of int8 operators of which one reads what the other writes.
    """

    quantisers: tuple[Quantiser, ...]
    macs: Mapping[str, int]
    total_macs: int
    links: tuple[tuple[str, str], ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Return plain data, from which `from_json` makes the landscape again."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Landscape:
        """Make a landscape from the data of `as_json`."""
        quantisers = (
            Quantiser(row["name"], tuple(row["operators"]), tuple(row["noise"]), tuple(row["tensors"]))
            for row in data["quantisers"]
        )
        links = tuple((first, second) for first, second in data["links"])
        return Landscape(tuple(quantisers), data["macs"], data["total_macs"], links)


def survey(result: StaticResult) -> Landscape:
    """Measure the noise of every quantiser of a quantised model alone, on the samples of its comparison."""
    graph, plan = result.reference.graph, result.plan
    values, int8 = values_by_name(graph), plan.int8_operators
    cost = model_cost(result.reference)
    macs = {operator.name: operator.macs for operator in cost.operators}
    scaled = products(result.reference)
    found = []
    for item, noise in _noises(result, cost.macs):
        figures = tuple(float(value) for value in noise)
        if isinstance(item, ConstantPlan):
            found.append(Quantiser(item.tensor, item.readers, figures))
            continue
        names = with_fused(item, plan, values)
        nodes = [node for name in names for node in _around(values[name]) if node.name in int8]
        operators = dict.fromkeys(node.name or "" for node in nodes)
        listed = sorted({scaled.get(name, name) for name in names})
        found.append(Quantiser(item.name, tuple(operators), figures, tuple(listed)))
    links = {
        (node.name or "", reader.name or "")
        for node in graph
        for reader in node.successors()
        if node.name in int8 and reader.name in int8
    }
    return Landscape(
        tuple(found), {name: macs.get(name, 0) for name in sorted(int8)}, cost.macs, tuple(sorted(links))
    )


def _around(value: ir.Value) -> list[ir.Node]:
    """Return the operators that write or read a value."""
    producer = value.producer()
    return [*([producer] if producer is not None else []), *(use.node for use in value.uses())]


Item = TensorGroup | ConstantPlan


def _noises(result: StaticResult, macs: int) -> list[tuple[Item, Noise]]:
    reference, plan, numbers = result.reference, result.plan, result.quantization
    outputs = [
        value.name or ""
        for value in reference.graph.outputs
        if value.dtype is None or value.dtype.is_floating_point()
    ]
    feeds = _samples(result, outputs)
    remainders = Remainders(reference, feeds)
    float_session = Session(reference, outputs, threads=1)
    expected = [copied(row) for row in float_session.run_all(feeds)]
    # Refinement corrects mean errors, so they do not count.
    centred = bool(result.means) and len(feeds) >= FEWEST_SAMPLES
    parts = MOST_MACS // max(1, macs) // len(feeds)

    def changed(items: Sequence[Item]) -> Changed:
        names = {name for item in items if isinstance(item, TensorGroup) for name in item.tensors}
        constants = {item for item in items if isinstance(item, ConstantPlan)}
        alone = Quantization(
            {name: params for name, params in numbers.activations.items() if name in names},
            {plan: stored for plan, stored in numbers.constants.items() if plan in constants},
        )
        part = replace(plan, constants=tuple(constants))
        corrected = correct_biases(reference, part, alone, result.means, result.target)
        model = export_qdq(corrected, plan, alone, result.target)
        set_outputs(model, outputs)
        return Changed(model, outputs)

    def noise(remainder: Remainder) -> Noise:
        sums = [_Noise(centred) for _ in outputs]
        for references, found in zip(expected, remainder.session.run_all(remainder.feeds), strict=True):
            for one, reference, output in zip(sums, references, found, strict=True):
                one.add(reference, output)
        return np.array([one.ratio for one in sums])

    def noises(parts: Iterable[Sequence[Item]]) -> Iterator[Noise]:
        return remainders.map(noise, map(changed, parts))

    items = _in_graph_order(result)
    return attribute_noise(items, noises, min(MOST_PARTS, max(FEWEST_PARTS, parts)))


class _Noise:
    """Noise over signal of one output; optionally without the mean error of every element."""

    def __init__(self, centred: bool) -> None:
        self._centred = centred
        self._errors: NDArray[np.float64] | float = 0.0
        self._noise, self._signal, self._count = 0.0, 0.0, 0

    def add(self, reference: object, output: object) -> None:
        """Add one sample; an output of another shape counts as zeros."""
        expected = _values(reference)
        found = _values(output) if array_pairs(reference, output) is not None else np.zeros_like(expected)
        error = np.nan_to_num(found - expected)
        self._noise += float((error**2).sum())
        self._signal += float((np.nan_to_num(expected) ** 2).sum())
        self._count += 1
        if np.shape(self._errors) in ((), error.shape):
            self._errors = self._errors + error
        else:
            self._centred = False

    @property
    def ratio(self) -> float:
        """Noise over signal."""
        noise = self._noise
        if self._centred:
            mean = float((np.asarray(self._errors) ** 2).sum()) / self._count
            noise = max(0.0, noise - mean) * self._count / (self._count - 1)
        return noise / max(self._signal, 1e-30)


def _values(output: object) -> NDArray[np.float64]:
    """Return the values of an output in one row: an array, or a sequence of arrays."""
    parts = map(_values, output) if isinstance(output, list) else [np.asarray(output, np.float64).reshape(-1)]
    return np.concatenate([np.zeros(0), *parts])


def _in_graph_order(result: StaticResult) -> list[Item]:
    """Return activations and constants in the order in which the graph first uses them."""
    place = {node.name or "": number for number, node in enumerate(result.reference.graph, start=1)}
    written = {
        output.name or "": place[node.name or ""]
        for node in result.reference.graph
        for output in node.outputs
    }

    def position(item: Item) -> int:
        if isinstance(item, TensorGroup):
            return written.get(item.name, 0)
        return min((place.get(name, 0) for name in item.readers), default=0)

    return sorted([*result.plan.groups, *result.quantization.constants], key=position)


def _samples(result: StaticResult, outputs: Sequence[str]) -> Sequence[Feeds]:
    """Return as many samples as a reliable figure needs."""
    compared = result.compared
    session = Session(result.reference, outputs, threads=1)
    elements = sum(array.size for array in session.run(compared[0]) if isinstance(array, np.ndarray))
    wanted = -(-FAIR_OUTPUTS // max(1, elements))
    return compared[: min(MOST_SAMPLES, max(FEWEST_SAMPLES, wanted))]
