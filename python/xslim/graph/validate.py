"""Check that a graph is valid: a file can parse and still not be a usable model."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir

from xslim.errors import ModelError
from xslim.graph.growth import check_growth
from xslim.graph.limits import check_expansion

logger = logging.getLogger(__name__)

_COPIED_BYTES = 2**16


def check_model(model: ir.Model, where: str = "the model") -> None:
    """Refuse an invalid model; sort its nodes into topological order if they are not.

    Parameters
    ----------
    model : onnx_ir.Model
        The model; only the order of its nodes may change.
    where : str
        The place that errors name.

    Raises
    ------
    ModelError
        Unknown opset, missing or short weights, a tensor without a producer, a cycle.
    """
    _check_opset(model, where)
    _check_producers(model, where)
    _check_external_data(model, where)
    _check_contents(model, where)
    check_expansion(model, where)
    _sort(model, where)
    check_growth(model, where)


def _check_opset(model: ir.Model, where: str) -> None:
    import onnx

    version = model.opset_imports.get("")
    if version is None:
        if any(node.domain == "" for node in model.graph.all_nodes()):
            raise ModelError("the model imports no ONNX opset", where=where, hint="export it again")
        return
    newest = onnx.defs.onnx_opset_version()
    if not 1 <= version <= newest:
        raise ModelError(
            f"unknown opset {version}: the installed onnx knows 1 to {newest}",
            where=where,
            hint="install a newer onnx, or export the model again with an older opset",
        )


def _check_producers(model: ir.Model, where: str) -> None:
    """Refuse a tensor that a node reads but that is not an input, an initializer or an output of a node."""
    for graph in model.graphs():
        _check_duplicates(graph, where)
        for node in graph:
            for value in node.inputs:
                if value is not None and not _is_produced(value):
                    raise ModelError(
                        f"node {_describe(node)} reads tensor {value.name!r}, which nothing produces",
                        where=where,
                        hint="export the model again",
                    )
        for value in graph.outputs:
            if not _is_produced(value):
                raise ModelError(
                    f"output {value.name!r} is produced by no node",
                    where=where,
                    hint="export the model again",
                )


def _check_duplicates(graph: ir.Graph, where: str) -> None:
    produced = Counter(value.name for node in graph for value in node.outputs if value.name)
    produced.update(value.name for value in graph.inputs if value.name)
    for name, count in produced.items():
        if count > 1:
            raise ModelError(
                f"tensor {name!r} is produced {count} times", where=where, hint="export the model again"
            )


def _is_produced(value: ir.Value) -> bool:
    return value.producer() is not None or value.is_graph_input() or value.is_initializer()


def _describe(node: ir.Node) -> str:
    return f"{node.name!r} ({node.op_type})" if node.name else f"of type {node.op_type}"


def _external_tensors(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    for graph in model.graphs():
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                yield value.const_value


def _check_external_data(model: ir.Model, where: str) -> None:
    for tensor in _external_tensors(model):
        file = Path(tensor.path)
        if tensor.length is not None and tensor.length < tensor.nbytes:
            raise ModelError(
                f"tensor {tensor.name!r} has {tensor.length} bytes of external data, not {tensor.nbytes}",
                where=where,
                hint="export or fetch it again",
            )
        needed = (tensor.offset or 0) + (tensor.length if tensor.length is not None else tensor.nbytes)
        if file.stat().st_size < needed:
            raise ModelError(
                f"external data file {str(file)!r} is cut short: tensor {tensor.name!r} needs {needed} bytes",
                where=where,
                hint="fetch it again",
            )


def _check_contents(model: ir.Model, where: str) -> None:
    """Refuse a tensor in the file that does not hold as many bytes as its shape and type need."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            _check_content(f"initializer {value.name!r}", value.const_value, where)
    for node in model.graph.all_nodes():
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                _check_content(f"{attribute.name} of node {_describe(node)}", attribute.value, where)


def _check_content(what: str, tensor: ir.TensorProtocol | None, where: str) -> None:
    if tensor is not None and tensor.dtype == ir.DataType.UNDEFINED:
        raise ModelError(f"{what} has no element type", where=where, hint="export the model again")
    if not isinstance(tensor, ir.TensorProtoTensor) or not tensor.raw.HasField("raw_data"):
        return
    # Reading the field copies it, so large tensors are checked by the size of their message.
    large = tensor.nbytes > _COPIED_BYTES
    held = tensor.raw.ByteSize() if large else len(tensor.raw.raw_data)
    if held < tensor.nbytes or (held != tensor.nbytes and not large):
        raise ModelError(
            f"{what} holds {held} bytes, not {tensor.nbytes}", where=where, hint="export or fetch it again"
        )


def _sort(model: ir.Model, where: str) -> None:
    before = list(model.graph)
    try:
        model.graph.sort()
    except ValueError as error:
        raise ModelError(
            f"the nodes form a cycle: {_cycle(model.graph)}", where=where, hint="export the model again"
        ) from error
    if list(model.graph) != before:
        logger.info("nodes were out of order and have been sorted")


def _cycle(graph: ir.Graph) -> str:
    """Return the names of the tensors along a cycle, found by going backwards from a node in it."""
    ready: set[ir.Node] = set()
    waiting = list(graph)
    while True:
        free = [node for node in waiting if all(parent in ready for parent in node.predecessors())]
        if not free:
            break
        ready.update(free)
        waiting = [node for node in waiting if node not in ready]
    if not waiting:
        return "inside a nested graph"
    path = [waiting[0]]
    while True:
        parent = next(parent for parent in path[-1].predecessors() if parent not in ready)
        if parent in path:
            loop = [*path[path.index(parent) :], parent]
            return " <- ".join(node.outputs[0].name or _describe(node) for node in loop)
        path.append(parent)
