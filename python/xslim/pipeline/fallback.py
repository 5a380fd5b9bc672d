"""Fallbacks: a lower opset if onnxruntime's optimiser fails on a result; a file if it exceeds one message."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir

from xslim.config import Config
from xslim.export.proof import NotRunnableError
from xslim.files import scratch_folder
from xslim.graph.io import PROTO_LIMIT_BYTES, save_model, to_proto, weight_bytes
from xslim.graph.ops import opset
from xslim.pipeline.original import Original
from xslim.pipeline.prepare import prepare_model

logger = logging.getLogger(__name__)


def prepared_at_lower_opset(
    failed: ir.Model,
    error: NotRunnableError,
    model: ir.Model,
    config: Config,
    original: Original | None = None,
) -> ir.Model | None:
    """Prepare a model again without the fusions for which its opset was raised; None if it was not raised.

    Parameters
    ----------
    failed : onnx_ir.Model
        The result that onnxruntime does not run.
    error : NotRunnableError
        Why onnxruntime does not run the result.
    model : onnx_ir.Model
        The float model.
    config : Config
        The configuration of the run.
    original : Original, optional
        The original, with which the prepared model is compared.
    """
    if config.model_parameters.opset is not None or opset(failed) <= opset(model):
        return None
    prepared = prepare_model(model, config, original, raise_opset=False)
    if opset(prepared) >= opset(failed):
        return None
    logger.warning("opset %d is taken instead of %d, at which %s", opset(prepared), opset(failed), error.what)
    return prepared


@contextmanager
def serialised(model: ir.Model, path: Path) -> Iterator[bytes | Path]:
    """Yield the model as bytes, or as a temporary file in the folder of `path` if it exceeds one message."""
    if weight_bytes(model) <= PROTO_LIMIT_BYTES:
        yield to_proto(model).SerializeToString()
        return
    with scratch_folder(path.parent) as aside:
        file = aside / path.name
        save_model(model, file)
        yield file
