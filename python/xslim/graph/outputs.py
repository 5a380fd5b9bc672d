"""Make inner tensors outputs of a model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx_ir as ir

from xslim.errors import InternalError


def with_outputs(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """Return a copy of the model whose outputs are exactly the tensors `names`; weights are not copied.

    Raises
    ------
    InternalError
        A name is not a tensor of the main graph.
    """
    copy = model.clone()
    set_outputs(copy, names)
    return copy


def set_outputs(model: ir.Model, names: Sequence[str]) -> None:
    """Make the tensors `names` the outputs of the model, and no others.

    Raises
    ------
    InternalError
        A name is not a tensor of the main graph.
    """
    values = values_by_name(model.graph)
    missing = [name for name in names if name not in values]
    if missing:
        raise InternalError(f"no tensor is named {missing[0]!r}")
    model.graph.outputs[:] = [values[name] for name in names]


def values_by_name(graph: ir.Graph) -> dict[str, ir.Value]:
    """Return every named value of the main graph: inputs, initializers and node outputs."""
    nodes: Iterable[ir.Value] = (output for node in graph for output in node.outputs)
    return {
        value.name: value for value in [*graph.inputs, *graph.initializers.values(), *nodes] if value.name
    }
