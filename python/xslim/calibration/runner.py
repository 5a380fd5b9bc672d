"""The calibration pass: samples stream through onnxruntime into sketches, one batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim import kernels
from xslim.errors import DataError
from xslim.graph.io import to_proto
from xslim.graph.outputs import with_outputs
from xslim.graph.scheme import QuantPlan
from xslim.runtime import Feeds, Session


@dataclass(frozen=True)
class Statistics:
    """What calibration has seen.

    Attributes
    ----------
    sketches : dict of str to Sketch
        One per observed tensor.
    channel_means : dict of str to float64 array
        Mean per channel of the tensors that were asked for.
    samples : int
        Number of batches seen.
    """

    sketches: dict[str, kernels.Sketch]
    channel_means: dict[str, NDArray[np.float64]]
    samples: int


def collect(
    model: ir.Model, plan: QuantPlan, channel_axes: Mapping[str, int], batches: Iterable[Feeds], device: str
) -> Statistics:
    """Run the float model once over all samples and observe every tensor that the plan needs.

    Parameters
    ----------
    model : onnx_ir.Model
        The prepared float model.
    plan : QuantPlan
        Says which tensors are observed.
    channel_axes : mapping of str to int
        Tensors whose mean per channel is wanted, with their channel axis.
    batches : iterable of feeds
        Arrays by input name; each batch is dropped before the next is read.
    device : {"cpu", "cuda"}
        Where the model runs.

    Raises
    ------
    DataError
        There is no sample, or an observed tensor is never finite.
    """
    sketches = {name: kernels.Sketch() for name in plan.observed}
    sums = {name: _ChannelSum(axis) for name, axis in channel_axes.items()}
    names = list(dict.fromkeys([*sketches, *sums]))
    session = Session(to_proto(with_outputs(model, names)).SerializeToString(), names, device=device)
    samples = 0
    for feeds in batches:
        outputs = dict(zip(names, session.run(feeds), strict=True))
        kernels.observe_many(list(sketches.values()), [outputs[name] for name in sketches])
        for name, channel_sum in sums.items():
            channel_sum.add(outputs[name])
        samples += 1
    if samples == 0:
        raise DataError("there is no calibration sample")
    return Statistics(sketches, {name: item.mean() for name, item in sums.items()}, samples)


class _ChannelSum:
    """Running sum per channel in float64, added in the order of the samples."""

    def __init__(self, axis: int) -> None:
        self._axis = axis
        self._sum: NDArray[np.float64] | None = None
        self._count = 0

    def add(self, values: NDArray[np.generic]) -> None:
        axis = self._axis % values.ndim
        others = tuple(index for index in range(values.ndim) if index != axis)
        total = values.sum(axis=others, dtype=np.float64)
        self._sum = total if self._sum is None else self._sum + total
        self._count += values.size // max(values.shape[axis], 1)

    def mean(self) -> NDArray[np.float64]:
        assert self._sum is not None
        return self._sum / max(self._count, 1)
