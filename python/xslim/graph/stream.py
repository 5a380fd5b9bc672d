"""Write an ONNX file weight by weight, so that the whole file is never in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    import onnx

# Field numbers of onnx.proto.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_LENGTH_DELIMITED = 2

_STREAMED_BYTES = 1 << 16


def write_streaming(model: ir.Model, file: Path) -> None:
    """Write the model as one protobuf file with only one large weight in memory at a time.

    Protobuf allows the fields of a message in any order, and an embedded message is its length followed by
    its bytes. The large initializers can therefore be written after the rest of the graph, each as a header
    followed by its raw bytes. The same model gives the same bytes.

    Parameters
    ----------
    model : onnx_ir.Model
        The model; it is not changed. Its weights must be smaller than 2 GB, which is the limit of protobuf.
    file : Path
        Path of the new file.
    """
    with _without_large_weights(model) as large:
        proto = ir.to_proto(model)
    graph = proto.graph.SerializeToString(deterministic=True)
    proto.ClearField("graph")
    fields = [_tensor_field(name, tensor) for name, tensor in large]
    length = len(graph) + sum(
        len(field) + tensor.nbytes for field, (_, tensor) in zip(fields, large, strict=True)
    )
    with file.open("wb") as out:
        out.write(proto.SerializeToString(deterministic=True))
        out.write(_prefix(_GRAPH, length))
        out.write(graph)
        for field, (_, tensor) in zip(fields, large, strict=True):
            out.write(field)
            out.write(tensor.tobytes())
            if isinstance(tensor, ir.ExternalTensor):
                tensor.release()


@contextlib.contextmanager
def _without_large_weights(model: ir.Model) -> Iterator[list[tuple[str, ir.TensorProtocol]]]:
    """While open, the main graph does not contain its large initializers."""
    initializers = model.graph.initializers
    everything = list(initializers.items())
    large = [
        (name, value.const_value)
        for name, value in everything
        if value.const_value is not None
        and value.const_value.dtype != ir.DataType.STRING
        and value.const_value.nbytes >= _STREAMED_BYTES
    ]
    for name, _ in large:
        del initializers[name]
    try:
        yield large
    finally:
        initializers.clear()
        for _, value in everything:
            model.graph.register_initializer(value)


def _tensor_field(name: str, tensor: ir.TensorProtocol) -> bytes:
    """Return the serialised fields of an initializer up to its raw bytes, which the caller writes next."""
    described: bytes = _header(name, tensor).SerializeToString(deterministic=True)
    header = described + _prefix(_RAW_DATA, tensor.nbytes)
    return _prefix(_INITIALIZER, len(header) + tensor.nbytes) + header


def _header(name: str, tensor: ir.TensorProtocol) -> onnx.TensorProto:
    import onnx

    return onnx.TensorProto(name=name, data_type=int(tensor.dtype), dims=tuple(tensor.shape.numpy()))


def _prefix(field: int, length: int) -> bytes:
    return _varint(field << 3 | _LENGTH_DELIMITED) + _varint(length)


def _varint(number: int) -> bytes:
    """Encode a number with seven bits per byte, lowest first; the top bit is set if more bytes follow."""
    result = bytearray()
    while number >= 0x80:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    result.append(number)
    return bytes(result)
