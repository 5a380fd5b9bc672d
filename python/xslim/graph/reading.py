"""Normalise models that deviate from the standard in ways that runtimes accept."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from xslim.errors import ModelError

if TYPE_CHECKING:
    import onnx

logger = logging.getLogger(__name__)

# The other spelling of the standard domain "".
_STANDARD = "ai.onnx"
# The first IR version in which an initializer need not be listed as an input.
INITIALIZERS_OFF_INPUTS = 4
# Limit for the dense form of a sparse tensor: a sparse tensor of a few bytes can be arbitrarily large when
# dense.
LARGEST_DENSE_BYTES = 2**31


def normalise(proto: onnx.ModelProto, where: str) -> None:
    """Normalise a model without changing its meaning.

    Afterwards the standard domain is spelt ``""``, the IR version allows initializers that are not inputs,
    sparse initializers and constants are dense, and the nodes of a graph have different names.

    Parameters
    ----------
    proto : onnx.ModelProto
        Changed in place.
    where : str
        The place that errors name.

    Raises
    ------
    ModelError
        A sparse tensor is inconsistent or too large in dense form, a value is a map, or two different
        initializers have the same name.
    """
    for holder in (proto, *proto.functions):
        _spell_standard_domain(holder)
    graphs = list(nested_graphs(proto))
    for graph in graphs:
        _refuse_maps(graph, where)
        _densify(graph, where)
        _refuse_ambiguous(graph, where)
        _tell_apart(graph)
    listed = {value.name for graph in graphs for value in graph.input}
    if any(tensor.name not in listed for graph in graphs for tensor in graph.initializer):
        proto.ir_version = max(proto.ir_version, INITIALIZERS_OFF_INPUTS)


def initializers(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every initializer, also of nested graphs; a sparse one yields its values and its indices."""
    for graph in nested_graphs(proto):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)


def attribute_tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield every tensor in an attribute of a node, also in nested graphs and functions."""
    for node in _nodes(proto):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("sparse_tensor"):
                yield from (attribute.sparse_tensor.values, attribute.sparse_tensor.indices)


def _spell_standard_domain(holder: onnx.ModelProto | onnx.FunctionProto) -> None:
    versions = [entry.version for entry in holder.opset_import if entry.domain in ("", _STANDARD)]
    if not any(entry.domain == _STANDARD for entry in holder.opset_import):
        return
    others = [entry for entry in holder.opset_import if entry.domain not in ("", _STANDARD)]
    standard = type(holder.opset_import[0])(domain="", version=max(versions))
    del holder.opset_import[:]
    holder.opset_import.extend([standard, *others])


def nested_graphs(proto: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """Yield the main graph and every nested graph."""
    waiting = [proto.graph]
    bodies = [node for function in proto.functions for node in function.node]
    while True:
        for node in bodies:
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    waiting.append(attribute.g)
                waiting.extend(attribute.graphs)
        if not waiting:
            return
        graph = waiting.pop()
        yield graph
        bodies = list(graph.node)


def _nodes(proto: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    for graph in nested_graphs(proto):
        yield from graph.node
    for function in proto.functions:
        yield from function.node


def _densify(graph: onnx.GraphProto, where: str) -> None:
    """Make the sparse initializers of a graph, and the sparse constants of its nodes, dense."""
    if graph.sparse_initializer:
        logger.info("%d sparse initializers are dense now", len(graph.sparse_initializer))
    for sparse in graph.sparse_initializer:
        graph.initializer.append(_dense(sparse, sparse.values.name, where))
    del graph.sparse_initializer[:]
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("sparse_tensor"):
                dense = _dense(attribute.sparse_tensor, node.output[0] if node.output else "", where)
                attribute.Clear()
                attribute.name, attribute.type = "value", attribute.TENSOR
                attribute.t.CopyFrom(dense)


def same_names(graph: onnx.GraphProto) -> bool:
    """Whether several nodes of the graph have the same name; onnxruntime refuses such a graph."""
    names = [node.name for node in graph.node if node.name]
    return len(set(names)) < len(names)


def _tell_apart(graph: onnx.GraphProto) -> None:
    """Give nodes with the same name different names; the first node keeps its name."""
    if not same_names(graph):
        return
    taken = {node.name for node in graph.node}
    count: Counter[str] = Counter()
    for node in graph.node:
        name = node.name
        if name and count[name]:
            while node.name in taken:
                node.name = f"{name}_{count[name]}"
                count[name] += 1
            taken.add(node.name)
        count[name] += name == node.name
    logger.info("nodes of one name have different names now")


def _refuse_maps(graph: onnx.GraphProto, where: str) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        kind = value.type.sequence_type.elem_type if value.type.HasField("sequence_type") else value.type
        if kind.HasField("map_type"):
            raise ModelError(
                f"{value.name!r} is a map, which XSlim cannot hold",
                where=where,
                hint="export a classifier of scikit-learn with options={'zipmap': False}",
            )


def _refuse_ambiguous(graph: onnx.GraphProto, where: str) -> None:
    """Keep one of equal initializers of a name; releases of onnxruntime take different ones of unequal."""
    if len({tensor.name for tensor in graph.initializer}) == len(graph.initializer):
        return
    kept: dict[str, onnx.TensorProto] = {}
    for tensor in graph.initializer:
        if kept.setdefault(tensor.name, tensor) != tensor:
            raise ModelError(
                f"two different initializers have the name {tensor.name!r}",
                where=where,
                hint="export the model again",
            )
    tensors = [type(tensor).FromString(tensor.SerializeToString()) for tensor in kept.values()]
    del graph.initializer[:]
    graph.initializer.extend(tensors)


def _dense(sparse: onnx.SparseTensorProto, name: str, where: str) -> onnx.TensorProto:
    from onnx import numpy_helper

    def refuse(what: str) -> ModelError:
        return ModelError(f"sparse tensor {name!r} {what}", where=where, hint="export the model again")

    shape = tuple(sparse.dims)
    try:
        values = ir.serde.deserialize_tensor(sparse.values).numpy().reshape(-1)
        indices = ir.serde.deserialize_tensor(sparse.indices).numpy()
    except (ValueError, TypeError, OSError, ir.serde.SerdeError) as error:
        raise refuse(f"cannot be read: {error}") from error
    if sparse.values.data_type == sparse.values.STRING or any(size < 0 for size in shape):
        raise refuse("has a type or a shape that no sparse tensor can have")
    elements = 1
    for size in shape:
        elements *= size
    if elements * values.itemsize > LARGEST_DENSE_BYTES:
        raise refuse(f"is larger than {LARGEST_DENSE_BYTES} bytes when it is dense")
    if indices.ndim == 2 and indices.shape[1] == len(shape):
        inside = ((indices >= 0) & (indices < np.asarray(shape, np.int64))).all()
        flat = np.ravel_multi_index(tuple(indices.T), shape) if inside and elements else indices[:, 0]
    else:
        flat = indices.reshape(-1)
        inside = ((flat >= 0) & (flat < elements)).all()
    if not inside or len(flat) != len(values):
        raise refuse("has indices that do not fit its values or its shape")
    dense = np.zeros(elements, values.dtype)
    dense[flat] = values
    return numpy_helper.from_array(dense.reshape(shape), name)
