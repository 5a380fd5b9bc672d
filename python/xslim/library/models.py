"""The model arguments of the library's functions."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import onnx
import onnx_ir as ir

from xslim.errors import ModelError
from xslim.graph.io import PROTO_LIMIT_BYTES, to_proto, weight_bytes


class Exported(Protocol):
    """What ``torch.onnx.export`` returns."""

    @property
    def model_proto(self) -> onnx.ModelProto:
        """The model."""


class Quantized(Protocol):
    """A result of XSlim."""

    @property
    def model(self) -> onnx.ModelProto:
        """The model."""


ModelLike = onnx.ModelProto | ir.Model | str | Path | Exported | Quantized


def source_of(model: ModelLike) -> onnx.ModelProto | Path:
    """Return a model as a message or as a path.

    Raises
    ------
    ModelError
        The argument is no model, or a model in memory is larger than a message can be.
    """
    if isinstance(model, (str, Path)):
        return Path(model)
    held = _within(model)
    if held is not None:
        return held
    if not isinstance(model, ir.Model):
        raise ModelError(
            f"must be a path, an onnx.ModelProto or an onnx_ir.Model, not {type(model).__name__}",
            where="model",
            hint="torch.onnx.export makes one of a module, onnx.load_from_string one of bytes",
        )
    if weight_bytes(model) > PROTO_LIMIT_BYTES:
        raise ModelError(
            "the weights of the model exceed 2 GB", where="model", hint="save the model and give its path"
        )
    return to_proto(model)


def _within(model: object) -> onnx.ModelProto | None:
    """Return the message that an object is or holds; None if there is none."""
    held = (model, *(getattr(model, name, None) for name in ("model_proto", "model")))
    return next((item for item in held if isinstance(item, onnx.ModelProto)), None)
