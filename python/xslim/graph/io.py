"""Read and write ONNX models. Reading leaves external weights on disk; writing leaves no partial files."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import onnx_ir as ir

from xslim.config import missing_hint
from xslim.errors import ModelError, OutputError
from xslim.files import put_in_place, require_content, scratch_folder
from xslim.graph.detached import PLAIN, standing_in
from xslim.graph.external import embed, locate, location
from xslim.graph.foreign import foreign_hint, is_foreign
from xslim.graph.outside import is_large
from xslim.graph.reading import attribute_tensors, initializers, nested_graphs, normalise, same_names
from xslim.graph.stream import write_streaming
from xslim.graph.validate import check_model

if TYPE_CHECKING:
    import onnx

logger = logging.getLogger(__name__)

# A protobuf message must be smaller than 2 GiB; some of that is left for everything but the weights.
PROTO_LIMIT_BYTES = 2**31 - 2**26
# Models with more bytes of weights are written weight by weight.
STREAM_ABOVE_BYTES = 2**23
# The first byte of every ONNX file: field 1 (ir_version) as a varint.
_ONNX_FIRST_BYTE = b"\x08"
_DATA_FILES = "xslim.data_files"


def load_model(source: str | os.PathLike[str] | onnx.ModelProto) -> ir.Model:
    """Load a model and check that its graph is sound.

    External weights are memory-mapped, never read as a whole.

    Parameters
    ----------
    source : path or onnx.ModelProto
        A ``.onnx`` file, or a model in memory. The model in memory is not changed; its external data are
        searched in the current directory.

    Returns
    -------
    onnx_ir.Model
        Nodes in topological order.

    Raises
    ------
    ModelError
        The file is missing, truncated or not ONNX; external data are missing, too short or outside the
        model's folder; the opset is unknown; a tensor has no producer or two; or nodes form a cycle.
    """
    import onnx

    if isinstance(source, onnx.ModelProto):
        # The user's proto is copied, because renaming an initializer also renames the tensor in its proto.
        where, folder, proto = "the model", Path(), onnx.ModelProto()
        proto.CopyFrom(source)
    else:
        path = Path(source)
        where, folder, proto = str(path), path.parent, _read_proto(path)
    _require_graph(proto, where)
    tensors = (*initializers(proto), *attribute_tensors(proto))
    files = dict.fromkeys(folder / location(tensor) for tensor in tensors if location(tensor))
    for tensor in initializers(proto):
        locate(tensor, folder, where)
    for tensor in attribute_tensors(proto):
        locate(tensor, folder, where)
        embed(tensor)
    normalise(proto, where)
    try:
        model = ir.from_proto(proto)
    except (ValueError, KeyError, TypeError, AttributeError, ir.serde.SerdeError) as error:
        raise ModelError(
            f"not a valid ONNX graph: {_innermost(error)}", where=where, hint="export it again"
        ) from error
    check_model(model, where)
    model.meta[_DATA_FILES] = tuple(files)
    _read_small_weights(model)
    _unpack_weights(model)
    return model


def data_files(model: ir.Model) -> tuple[Path, ...]:
    """Return the external data files of a model returned by `load_model`; none for models derived from it."""
    files: tuple[Path, ...] = model.meta.get(_DATA_FILES, ())
    return files


def load_mended(path: Path) -> ir.Model | None:
    """Load a valid model whose file onnxruntime may refuse, or return None if onnxruntime accepts it.

    onnxruntime refuses symbolic links that leave the model's folder, and nodes with equal names.
    """
    proto, folder = _read_proto(path), path.resolve().parent
    tensors = (*initializers(proto), *attribute_tensors(proto))
    files = {location(tensor) for tensor in tensors} - {""}
    linked = any(folder not in (path.parent / file).resolve().parents for file in files)
    return load_model(path) if linked or any(map(same_names, nested_graphs(proto))) else None


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """Return the model as one ``onnx.ModelProto`` with every weight inside.

    Raises
    ------
    ModelError
        The weights are too large for one protobuf message (2 GB); `save_model` can write such a model.
    """
    if weight_bytes(model) > PROTO_LIMIT_BYTES:
        raise ModelError(
            "the model exceeds 2 GB and does not fit one ModelProto", hint="save it to a file instead"
        )
    with standing_in(_in_memory(model)):
        return ir.to_proto(model)


def save_model(
    model: ir.Model,
    path: str | os.PathLike[str],
    *,
    external_above: int | None = None,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Write the model; if that fails, no partial file remains.

    The model is written to a temporary file in the same folder, which is then renamed. The same model gives
    the same bytes.

    Parameters
    ----------
    model : onnx_ir.Model
        Left unchanged.
    path : path
        The ``.onnx`` file. Missing folders are created, and removed again if writing fails.
    external_above : int, optional
        If the weights have more bytes than this, they go to ``<file name>.data`` beside the model; by
        default the limit of one protobuf message.
    check : callable, optional
        Called with the temporary file before it is renamed. If it raises, nothing is written.

    Raises
    ------
    OutputError
        The file cannot be written, or the path is a folder, a link or a device.
    """
    target = Path(path)
    external = weight_bytes(model) > (PROTO_LIMIT_BYTES if external_above is None else external_above)
    try:
        with scratch_folder(target.parent) as aside:
            written = aside / target.name
            _write(model, written, weights_file(target).name if external else None)
            if check is not None:
                check(written)
            # The weights are renamed first, so that the model file never refers to missing data.
            for file in sorted(aside.iterdir(), key=lambda file: file == written):
                put_in_place(file, target.parent / file.name)
    except OSError as error:
        raise OutputError(f"cannot write: {error.strerror or error}", where=str(target)) from error
    logger.debug("wrote %s", target)


def weights_file(path: Path) -> Path:
    """Return the path for the weights of a model that is too large for one file."""
    return path.with_name(f"{path.name}.data")


def weight_bytes(model: ir.Model) -> int:
    """Return the bytes of all initializers, including those of nested graphs."""
    return sum(tensor.nbytes for _, tensor in _weights(model))


def external_bytes(model: ir.Model) -> int:
    """Return the bytes of the weights that are stored in files beside the model."""
    return sum(tensor.nbytes for _, tensor in _weights(model) if isinstance(tensor, ir.ExternalTensor))


def release(value: ir.Value) -> None:
    """Close the memory map of an external weight; the next access maps it again."""
    if isinstance(value.const_value, ir.ExternalTensor):
        # The map cannot be closed while an array of the weight is in use.
        with contextlib.suppress(BufferError):
            value.const_value.release()


def release_weights(model: ir.Model) -> None:
    """Close the memory maps of all external weights, because they count as memory of the process."""
    for value, _ in _weights(model):
        release(value)


def _read_proto(path: Path) -> onnx.ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        require_content(path)
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        raise ModelError(
            f"cannot read the model: {getattr(error, 'strerror', None) or error}",
            where=str(path),
            hint=missing_hint(path, "name the .onnx file"),
        ) from error
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError as error:
        if data.startswith(_ONNX_FIRST_BYTE) and not is_foreign(path):
            raise ModelError(
                "the ONNX file is damaged or cut short", where=str(path), hint="fetch or export it again"
            ) from error
        raise ModelError("not an ONNX file", where=str(path), hint=foreign_hint(path)) from error
    return proto


def _require_graph(proto: onnx.ModelProto, where: str) -> None:
    if not proto.HasField("graph") or not (proto.graph.node or proto.graph.output):
        raise ModelError("not an ONNX model: it has no graph", where=where, hint="export it again")


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _unpack_weights(model: ir.Model) -> None:
    """Make all constants plain arrays: a message copies a weight whenever somebody reads it.

    A session reads every weight, and a run makes dozens of sessions. The memory of the message is freed only
    after the last of its constants is unpacked.
    """
    for value, tensor in _weights(model):
        value.const_value = _unpacked(tensor)
    for node in model.graph.all_nodes():
        for name, attribute in list(node.attributes.items()):
            if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                tensor = attribute.as_tensor()
                if (plain := _unpacked(tensor)) is not tensor:
                    node.attributes[name] = ir.AttrTensor(name, plain, doc_string=attribute.doc_string)


def _unpacked(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    if not isinstance(tensor, ir.TensorProtoTensor) or tensor.dtype == ir.DataType.STRING:
        return tensor
    try:
        array = tensor.numpy()
    except ValueError:
        # The values do not fill the shape; onnxruntime says so when it loads the model.
        return tensor
    if array.dtype.kind not in PLAIN or array.nbytes != tensor.nbytes:
        return tensor
    return ir.Tensor(array, name=tensor.name, doc_string=tensor.doc_string)


def _read_small_weights(model: ir.Model) -> None:
    """Read small external tensors into memory, because constants such as shapes are copied into protobufs."""
    for value, tensor in _weights(model):
        if isinstance(tensor, ir.ExternalTensor) and not is_large(value):
            value.const_value = ir.Tensor(tensor.numpy().copy(), dtype=tensor.dtype, name=tensor.name)
            tensor.release()


def _weights(model: ir.Model) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value, value.const_value


def _in_memory(model: ir.Model) -> dict[ir.Value, ir.TensorProtocol]:
    """Return the external tensors as tensors in memory, so that serialising embeds them."""
    return {
        value: ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name)
        for value, tensor in _weights(model)
        if isinstance(tensor, ir.ExternalTensor)
    }


def _write(model: ir.Model, file: Path, external_name: str | None) -> None:
    if external_name is not None:
        ir.save(model, file, external_data=external_name)
    elif weight_bytes(model) > STREAM_ABOVE_BYTES:
        write_streaming(model, file)
    else:
        file.write_bytes(to_proto(model).SerializeToString(deterministic=True))
