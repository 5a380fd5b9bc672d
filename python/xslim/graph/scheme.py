"""Dataclasses that describe a quantised model: what is int8, and with which parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

QMIN, QMAX = -128, 127


@dataclass(frozen=True)
class QuantParams:
    """Scale and zero point of one tensor: ``x ≈ (q - zero_point) * scale``.

    Attributes
    ----------
    scale : float32 array
        Shape ``()`` per tensor or ``(channels,)`` per channel; finite and positive.
    zero_point : int8 array (int32 for a bias)
        Same shape as `scale`; all zero if the tensor is quantised symmetrically.
    axis : int or None
        Channel axis if the tensor is quantised per channel, else None.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.int8] | NDArray[np.uint8] | NDArray[np.int32]
    axis: int | None = None

    @property
    def span(self) -> tuple[float, float]:
        """Smallest and largest value that the int8 tensor can represent (per tensor only)."""
        scale, zero_point = float(self.scale), int(self.zero_point)
        return (QMIN - zero_point) * scale, (QMAX - zero_point) * scale

    def saturates_at(self, bounds: tuple[float, float] | None) -> bool:
        """Whether all values that int8 represents lie within the bounds, up to a thousandth of the scale."""
        if bounds is None:
            return True
        (low, high), slack = self.span, float(self.scale) * 1e-3
        return low >= bounds[0] - slack and high <= bounds[1] + slack


@dataclass(frozen=True)
class QuantizedTensor:
    """An int8 constant (int32 for a bias) and its parameters."""

    values: NDArray[np.int8] | NDArray[np.uint8] | NDArray[np.int32]
    params: QuantParams


@dataclass(frozen=True)
class OperatorPlan:
    """Whether one operator is int8, and the reason.

    Attributes
    ----------
    name, op_type : str
        The operator.
    int8 : bool
        Whether the operator is int8.
    reason : str
        ``int8``, or the name of the operator that absorbs it, or why it is float.
    outputs : tuple of str
        The tensors that the operator writes.
    """

    name: str
    op_type: str
    int8: bool
    reason: str
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class TensorGroup:
    """Activations that share one scale and zero point.

    Attributes
    ----------
    tensors : tuple of str
        All members in graph order; the first member gives the group its name.
    observed : tuple of str
        The members whose values determine the range: the tensor from which the others are moved, then those
        that hold a constant besides, as the result of a Pad does. The rest only hold values of these.
    fixed_range : pair of float, or None
        A range that is known without calibration; refinement may prefer the observed one.
    clamp : pair of float, or None
        Bounds of an activation function that the saturation of the quantiser can replace.
    method, max_percentile : str, float
        The calibration method for the range.
    """

    tensors: tuple[str, ...]
    observed: tuple[str, ...]
    method: str
    max_percentile: float
    fixed_range: tuple[float, float] | None = None
    clamp: tuple[float, float] | None = None

    @property
    def name(self) -> str:
        """The group's name: its first tensor."""
        return self.tensors[0]


@dataclass(frozen=True)
class ConstantPlan:
    """A constant that becomes int8.

    Attributes
    ----------
    tensor : str
        Name of the initializer.
    axis : int or None
        Channel axis; None means per tensor.
    symmetric : bool
        True for the weights of compute operators, False for operands of elementwise operators.
    readers : tuple of str
        Names of the operators that read the constant as int8; other readers keep the float values.
    """

    tensor: str
    axis: int | None
    symmetric: bool
    readers: tuple[str, ...]


@dataclass(frozen=True)
class ConcatPlan:
    """Int8 tensors that one operator concatenates.

    Attributes
    ----------
    output : str
        The output of the operator.
    inputs : tuple of str
        The activations among the operands.
    private : frozenset of str
        Inputs whose values no other operator reads, neither in int8 nor in float.
    """

    output: str
    inputs: tuple[str, ...]
    private: frozenset[str]


@dataclass(frozen=True)
class QuantPlan:
    """Everything that is decided before calibration.

    Attributes
    ----------
    operators : tuple of OperatorPlan
        Every operator of the main graph in topological order.
    groups : tuple of TensorGroup
        The activations that are int8.
    constants : tuple of ConstantPlan
        The constants that are int8. A constant that needs two different channel axes is planned and stored
        twice.
    concats : tuple of ConcatPlan
        Concatenated tensors, which may share parameters if their ranges allow it.
    """

    operators: tuple[OperatorPlan, ...]
    groups: tuple[TensorGroup, ...]
    constants: tuple[ConstantPlan, ...]
    concats: tuple[ConcatPlan, ...] = ()

    @property
    def int8_operators(self) -> frozenset[str]:
        """Names of the operators that are int8."""
        return frozenset(operator.name for operator in self.operators if operator.int8)

    @property
    def observed(self) -> tuple[str, ...]:
        """Names of the tensors that calibration must observe."""
        return tuple(name for group in self.groups for name in group.observed)


@dataclass(frozen=True)
class Quantization:
    """The scales, zero points and integer constants of a quantised model.

    Attributes
    ----------
    activations : dict
        Parameters of every int8 activation, by tensor name.
    constants : dict
        The int8 form of every constant of the plan.
    biases : dict
        The int32 form of biases, by the name of the operator that adds the bias; other biases are float.
    """

    activations: dict[str, QuantParams]
    constants: dict[ConstantPlan, QuantizedTensor]
    biases: dict[str, QuantizedTensor] = field(default_factory=dict)


def representable(scale: NDArray[np.float32], dtype: type[np.floating[Any]]) -> NDArray[np.generic]:
    """Round a scale to the type of its tensor, never to zero."""
    return np.asarray(np.maximum(np.asarray(scale).astype(dtype), np.finfo(dtype).smallest_subnormal))
