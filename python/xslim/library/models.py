"""The model arguments of the library's functions."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir

from xslim.errors import ModelError
from xslim.graph.io import PROTO_LIMIT_BYTES, to_proto, weight_bytes

ModelLike = onnx.ModelProto | ir.Model | str | Path


def source_of(model: ModelLike) -> onnx.ModelProto | Path:
    """Return a model as a message or as a path.

    Raises
    ------
    ModelError
        The argument is no model, or a model in memory is larger than a message can be.
    """
    if isinstance(model, (str, Path)):
        return Path(model)
    if isinstance(model, onnx.ModelProto):
        return model
    if not isinstance(model, ir.Model):
        raise ModelError(
            f"must be a path, an onnx.ModelProto or an onnx_ir.Model, not {type(model).__name__}",
            where="model",
            hint="torch.onnx.export writes a model of PyTorch to a file",
        )
    if weight_bytes(model) > PROTO_LIMIT_BYTES:
        raise ModelError(
            "the weights of the model exceed 2 GB", where="model", hint="save the model and give its path"
        )
    return to_proto(model)
