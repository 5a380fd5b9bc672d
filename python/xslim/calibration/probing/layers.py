"""Recognise inputs of another scale than in training by what the first layers make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.calibration.probing.statistics import known, moments
from xslim.graph.ops import is_standard

Doubles = NDArray[np.float64]

BIAS_SHARE = (0.02, 20.0)
"""Biases of a first layer weigh about as much as what they are added to. Where a candidate makes them weigh
less than the first or more than the second, the input has another scale than in training."""
SATURATING = ("Clip", "HardSigmoid", "Relu", "Sigmoid", "Tanh")
MOST_ACTIVATIONS = 6
IDLE, MORE_IDLE = 1e-6, 0.25
"""A channel is idle if its variance is below the first number times its mean square: a dead Relu, a Sigmoid
at its end. A candidate is excluded if its share of idle channels exceeds the smallest by the second."""


@dataclass(frozen=True)
class FirstLayers:
    """The tensors whose moments tell the scale of the input.

    Attributes
    ----------
    biased : str or None
        Output of the first convolution, if it has a bias.
    bias : array or None
        The bias.
    activations : list of str
        Outputs of the first activations that can die or saturate.
    """

    biased: str | None
    bias: Doubles | None
    activations: list[str]

    @classmethod
    def of(cls, model: ir.Model) -> FirstLayers:
        """Find the first layers of a model."""
        convolution = next((node for node in model.graph if is_standard(node, "Conv")), None)
        name = bias = None
        if convolution is not None and len(convolution.inputs) > 2:
            array = known(convolution.inputs[2])
            if array is not None and np.any(array) and convolution.outputs[0].name:
                name, bias = convolution.outputs[0].name, np.asarray(array, np.float64)
        found = [
            node.outputs[0].name
            for node in model.graph
            if is_standard(node, *SATURATING) and node.outputs[0].name and _is_behind_convolution(node)
        ]
        return cls(name, bias, [str(text) for text in found[:MOST_ACTIVATIONS]])

    @property
    def tensors(self) -> list[str]:
        """The tensors, in the order in which `excludes` and `idle_share` expect their moments."""
        return list(dict.fromkeys([*([self.biased] if self.biased else []), *self.activations]))

    def has_other_scale(self, runs: Sequence[Sequence[NDArray[np.generic]]], first: int) -> bool:
        """Whether the biases of the first convolution weigh far more or less than what they are added to."""
        if self.bias is None:
            return False
        _, variance = moments(runs, first)
        deviation = float(np.median(np.sqrt(variance)))
        share = float(np.median(np.abs(self.bias))) / deviation if deviation > 0 else np.inf
        return not BIAS_SHARE[0] <= share <= BIAS_SHARE[1]

    def idle_share(self, runs: Sequence[Sequence[NDArray[np.generic]]], first: int) -> float:
        """Return the share of channels of the activations that are the same everywhere in all images."""
        start = first + 2 * (self.biased is not None)
        idle: list[NDArray[np.bool_]] = []
        for index in range(len(self.activations)):
            mean, variance = moments(runs, start + 2 * index)
            idle.append(variance <= IDLE * np.maximum(np.square(mean), 1e-12))
        return float(np.concatenate(idle).mean()) if idle else 0.0


def _is_behind_convolution(node: ir.Node) -> bool:
    """Whether an activation surely has channels and positions, although shapes may be unknown."""
    source = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    return source is not None and is_standard(source, "Conv")
