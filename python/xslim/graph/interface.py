"""The interface of a model: names, order, types and shapes of inputs and outputs. No pass may change it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from xslim.errors import InternalError


@dataclass(frozen=True)
class Port:
    """One input or output."""

    name: str
    type: ir.TypeProtocol | None
    shape: ir.Shape | None

    @classmethod
    def of(cls, value: ir.Value) -> Port:
        """Record the name, type and shape of a value."""
        return cls(value.name or "", value.type, value.shape.copy() if value.shape is not None else None)


@dataclass(frozen=True)
class Interface:
    """The outputs of a model and its inputs without default values, in order."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @classmethod
    def of(cls, model: ir.Model) -> Interface:
        """Record the interface of a model."""
        graph = model.graph
        return cls(
            tuple(Port.of(value) for value in graph.inputs if not value.is_initializer()),
            tuple(Port.of(value) for value in graph.outputs),
        )

    def with_shapes(self, shapes: Mapping[str, ir.Shape]) -> Interface:
        """Return the interface with other shapes for some outputs."""
        outputs = (
            replace(port, shape=shapes[port.name]) if port.name in shapes else port for port in self.outputs
        )
        return replace(self, outputs=tuple(outputs))

    def restore(self, model: ir.Model) -> None:
        """Restore this interface in a rewritten model.

        All inputs are restored in order, also those that nothing reads. Outputs get their names, types and
        shapes back, including the names of symbolic dimensions.

        Raises
        ------
        InternalError
            An output is missing or there is a new input, so the rewriting was wrong.
        """
        self._restore_inputs(model.graph)
        if len(self.outputs) != len(model.graph.outputs):
            raise InternalError(f"{len(self.outputs)} outputs became {len(model.graph.outputs)}")
        for port, value in zip(self.outputs, model.graph.outputs, strict=True):
            if value.name != port.name:
                raise InternalError(f"output {port.name!r} became {value.name!r}")
            _apply(port, value)

    def _restore_inputs(self, graph: ir.Graph) -> None:
        present = {value.name: value for value in graph.inputs}
        unknown = present.keys() - {port.name for port in self.inputs}
        if unknown:
            raise InternalError(f"rewriting added the inputs {sorted(map(str, unknown))}")
        graph.inputs.clear()
        for port in self.inputs:
            value = present.get(port.name) or ir.Value(name=port.name)
            _apply(port, value)
            graph.inputs.append(value)


def _apply(port: Port, value: ir.Value) -> None:
    if port.type is not None:
        value.type = port.type
    if port.shape is not None:
        value.shape = port.shape.copy()
