"""Conditions on attributes and inputs under which a target runs an operator, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from xslim.graph.ops import attribute, is_fixed

Scalar = int | float | str


@dataclass(frozen=True)
class Constraint:
    """One condition. It concerns an attribute, one input, or all inputs from a position on.

    Attributes
    ----------
    attribute : str or None
        The attribute that must be `present`, have a value of `one_of`, hold at most `max_length` numbers,
        or hold only `zeros`. A missing attribute has the default of the operator's schema.
    input, inputs_from : int or None
        The input, or the first of several inputs, that must be constant if the node has it: an initializer,
        or a DequantizeLinear of one.
    unless : mapping of str to value
        The condition does not apply if these attributes have these values.
    """

    attribute: str | None = None
    present: bool = False
    one_of: tuple[Scalar, ...] = ()
    max_length: int | None = None
    zeros: bool = False
    input: int | None = None
    inputs_from: int | None = None
    unless: Mapping[str, Scalar] | None = None

    def violation(self, node: ir.Node) -> str | None:
        """Return what the node violates, as the end of "the target needs ...", or None."""
        if self.unless and all(attribute(node, key) == value for key, value in self.unless.items()):
            return None
        if self.attribute is not None:
            return self._attribute_violation(node, self.attribute)
        return self._input_violation(node)

    def _attribute_violation(self, node: ir.Node, name: str) -> str | None:
        value = attribute(node, name)
        if value is None:
            return f"{name} stated" if self.present else None
        if self.one_of and value not in self.one_of:
            return f"{name} {' or '.join(map(str, self.one_of))}, here it is {value}"
        if isinstance(value, (int, float, str)):
            return None
        if self.max_length is not None and len(value) > self.max_length:
            return f"{name} of at most {self.max_length} dimensions, here it has {len(value)}"
        if self.zeros and any(value):
            return f"{name} 0, here it is {list(value)}"
        return None

    def _input_violation(self, node: ir.Node) -> str | None:
        first = self.input if self.input is not None else self.inputs_from or 0
        last = first + 1 if self.input is not None else len(node.inputs)
        for position, value in enumerate(node.inputs[first:last], first):
            if value is not None and not is_fixed(value):
                return f"a constant as input {position}"
        return None
