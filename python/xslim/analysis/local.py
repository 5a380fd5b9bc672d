"""The local error: the error that an int8 operator adds to inputs without accumulated errors.

In the quantised model an operator reads inputs that contain the errors of all operators before it. Here every
int8 operator has a second copy with the same int8 weights and quantisers. The copy reads the tensors of the
float model, quantised as in the exported model, so the error of its output is its own. Both copies share
their weights and run in one session.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from xslim.errors import InternalError
from xslim.graph.editing import GraphEditor
from xslim.graph.ops import constant
from xslim.graph.quantizers import quantizer_pairs

Array = NDArray[Any]


@dataclass(frozen=True)
class LocalModel:
    """The exported model with a second copy of its int8 operators.

    Attributes
    ----------
    model : onnx_ir.Model
        The model; its outputs are those of the exported model and the tensors named in `accumulated` and
        `local`.
    accumulated, local : dict of str to str
        For each requested tensor: the output with its integers in the exported model, and the output with the
        integers that its operator computes from the float model's tensors.
    parameters : dict of str to (scale, zero point)
        For each requested tensor, as in the exported model.
    fed : tuple of str
        Tensors of the float model that must be fed, besides the model's inputs.
    """

    model: ir.Model
    accumulated: dict[str, str]
    local: dict[str, str]
    parameters: dict[str, tuple[Array, Array]]
    fed: tuple[str, ...]

    @staticmethod
    def input_name(tensor: str) -> str:
        """Return the name of the input through which the float values of a tensor are fed."""
        return f"{tensor}_given"

    def restored(self, tensor: str, integers: Array) -> Array:
        """Return what DequantizeLinear computes from integers of a tensor."""
        scale, zero_point = self.parameters[tensor]
        every = np.arange(256, dtype=np.uint8).view(zero_point.dtype)
        steps = every.astype(np.float32) - zero_point.astype(np.float32)
        table = (steps * scale.astype(np.float32)).astype(scale.dtype)
        # Indexing with an array without dimensions gives a number, which is no array.
        return np.asarray(table[integers.view(np.uint8)])


def with_local_copies(
    exported: ir.Model, tensors: Sequence[str], int8_operators: Collection[str]
) -> LocalModel:
    """Add a second copy of the int8 operators to an exported model.

    Parameters
    ----------
    exported : onnx_ir.Model
        The model in QDQ form, in which quantised tensors have the names of the float model; it is not
        changed.
    tensors : sequence of str
        The int8 activations whose local error is wanted.
    int8_operators : collection of str
        Names of the int8 operators.

    Raises
    ------
    InternalError
        A tensor has no quantiser.
    """
    model = exported.clone()
    writer = _LocalCopies(model.graph, int8_operators)
    accumulated = {name: writer.pair(name)[0].outputs[0] for name in tensors}
    local = {name: writer.local(name) for name in tensors}
    model.graph.outputs[:] = dict.fromkeys([*model.graph.outputs, *accumulated.values(), *local.values()])
    model.graph.sort()
    parameters = {name: writer.parameters(name) for name in tensors}
    return LocalModel(model, _names(accumulated), _names(local), parameters, tuple(writer.given))


def _names(values: Mapping[str, ir.Value]) -> dict[str, str]:
    return {tensor: value.name or "" for tensor, value in values.items()}


class _LocalCopies(GraphEditor):
    """Repeats int8 operators on the float model's tensors."""

    def __init__(self, graph: ir.Graph, int8_operators: Collection[str]) -> None:
        super().__init__(graph)
        self._int8 = int8_operators
        self._pairs = dict(quantizer_pairs(graph))
        self._tensors = {restore.outputs[0]: name for name, (_, restore) in self._pairs.items()}
        self._copies: dict[ir.Value, ir.Value] = {}
        self.given: dict[str, ir.Value] = {}

    def pair(self, name: str) -> tuple[ir.Node, ir.Node]:
        """Return the QuantizeLinear and the DequantizeLinear of a tensor."""
        if name not in self._pairs:
            raise InternalError("an int8 tensor has no quantiser", where=name)
        return self._pairs[name]

    def parameters(self, name: str) -> tuple[Array, Array]:
        """Return the scale and the zero point of a tensor."""
        scale, zero_point = map(constant, self.pair(name)[0].inputs[1:3])
        assert scale is not None
        assert zero_point is not None
        return scale, zero_point

    def local(self, name: str) -> ir.Value:
        """Return the integers that the copy of its operator computes."""
        computed = self.pair(name)[0].inputs[0]
        assert computed is not None
        producer = computed.producer()
        if producer is None or producer.name not in self._int8:
            # The output needs a name of its own, although it equals the tensor that the readers get.
            computed = self._given_input(name)
        else:
            computed = self._copy(computed)
        return self._integers(name, computed, f"{name}_local")

    def _given_input(self, name: str) -> ir.Value:
        if name not in self.given:
            original = self.pair(name)[0].inputs[0]
            assert original is not None
            # Inferred sizes may be wrong; the rank is enough.
            shape = None if original.shape is None else ir.Shape([None] * len(original.shape))
            value = ir.Value(name=LocalModel.input_name(name), shape=shape, type=original.type)
            self.graph.inputs.append(value)
            self.given[name] = value
        return self.given[name]

    def _integers(self, name: str, source: ir.Value, output: str) -> ir.Value:
        quantize, _ = self.pair(name)
        return self._repeat(quantize, [source, *quantize.inputs[1:]], output)

    def _quantized(self, name: str, source: ir.Value, output: str) -> ir.Value:
        _, restore = self.pair(name)
        integers = self._integers(name, source, f"{output}_integers")
        return self._repeat(restore, [integers, *restore.inputs[1:]], output)

    def _copy(self, value: ir.Value) -> ir.Value:
        """Copy the int8 operators that compute a value, back to the quantised tensors that they read."""
        if value in self._copies:
            return self._copies[value]
        producer = value.producer()
        if value in self._tensors:
            name = self._tensors[value]
            copy = self._quantized(name, self._given_input(name), f"{name}_requantized")
        elif producer is None or producer.name not in self._int8:
            copy = value
        else:
            inputs = [None if item is None else self._copy(item) for item in producer.inputs]
            index = producer.outputs.index(value)
            copy = self._repeat(producer, inputs, f"{producer.name}_alone", index)
        self._copies[value] = copy
        return copy

    def _repeat(
        self, node: ir.Node, inputs: Sequence[ir.Value | None], name: str, index: int = 0
    ) -> ir.Value:
        repeated = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            node.attributes.values(),
            num_outputs=len(node.outputs),
            version=node.version,
            name=self.fresh(f"{name}_{index}"),
        )
        for position, output in enumerate(repeated.outputs):
            output.name = self.fresh(f"{name}_{index}_{position}")
        self.graph.append(repeated)
        return repeated.outputs[index]
