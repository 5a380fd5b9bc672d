"""Conversions without a configuration: one function each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from xslim.config import SLIM_ONLY
from xslim.files import scratch_folder
from xslim.pipeline.run import quantize_onnx_model

DYNAMIC, HALF = 3, 4


def quantize_dynamic(
    model: onnx.ModelProto | str | Path,
    output_path: str | Path | None = None,
    *,
    target: str = "spacemit",
    ignore_op_types: Sequence[str] = (),
    ignore_op_names: Sequence[str] = (),
    opset: int | None = None,
) -> onnx.ModelProto:
    """Store the weights of a model as int8 and quantise activations while it runs; no data are needed.

    Parameters
    ----------
    model : onnx.ModelProto, str or Path
        The float model.
    output_path : str or Path, optional
        A ``.onnx`` file or a folder; nothing is written without it.
    target : str
        ``spacemit``, or ``generic`` for onnxruntime on any CPU.
    ignore_op_types, ignore_op_names : sequence of str
        Operator types and names of nodes that stay float; shell patterns are allowed.
    opset : int, optional
        Opset of the result; by default that of the model, at least 13.

    Returns
    -------
    onnx.ModelProto
        The new model. Where its weights exceed 2 GB they stay in the file that was written.

    Raises
    ------
    XSlimError
        The model cannot be read or converted, or the output cannot be written.
    """
    settings = {"target": target, "ignore_op_types": ignore_op_types, "ignore_op_names": ignore_op_names}
    return _convert(model, output_path, DYNAMIC, opset, settings)


def convert_fp16(
    model: onnx.ModelProto | str | Path,
    output_path: str | Path | None = None,
    *,
    target: str = "spacemit",
    keep_types: Sequence[str] = (),
    ignore_op_types: Sequence[str] = (),
    ignore_op_names: Sequence[str] = (),
    opset: int | None = None,
) -> onnx.ModelProto:
    """Convert a model to float16 wherever that does no harm; inputs and outputs keep their types.

    Parameters
    ----------
    model : onnx.ModelProto, str or Path
        The float model.
    output_path : str or Path, optional
        A ``.onnx`` file or a folder; nothing is written without it.
    target : str
        ``spacemit``, or ``generic`` for onnxruntime on any CPU.
    keep_types : sequence of str
        Operator types that stay float32 for their accuracy, such as ``Softmax``; shell patterns are allowed.
    ignore_op_types, ignore_op_names : sequence of str
        Operator types and names of nodes that stay float32; shell patterns are allowed.
    opset : int, optional
        Opset of the result; by default that of the model.

    Returns
    -------
    onnx.ModelProto
        The new model. Where its weights exceed 2 GB they stay in the file that was written.

    Raises
    ------
    XSlimError
        The model cannot be read or converted, or the output cannot be written.
    """
    settings = {
        "target": target,
        "fp16_keep_types": keep_types,
        "ignore_op_types": ignore_op_types,
        "ignore_op_names": ignore_op_names,
    }
    return _convert(model, output_path, HALF, opset, settings)


def slim(
    model: onnx.ModelProto | str | Path,
    output_path: str | Path | None = None,
    *,
    opset: int | None = None,
) -> onnx.ModelProto:
    """Make a model small: it computes the same with fewer operators.

    Parameters
    ----------
    model : onnx.ModelProto, str or Path
        Any model, quantised ones included.
    output_path : str or Path, optional
        A ``.onnx`` file or a folder; nothing is written without it.
    opset : int, optional
        Opset of the result; by default that of the model.

    Returns
    -------
    onnx.ModelProto
        The new model. Where its weights exceed 2 GB they stay in the file that was written.

    Raises
    ------
    XSlimError
        The model cannot be read or converted, or the output cannot be written.
    """
    return _convert(model, output_path, SLIM_ONLY, opset, {})


def _convert(
    model: onnx.ModelProto | str | Path,
    output_path: str | Path | None,
    level: int,
    opset: int | None,
    settings: dict[str, Any],
) -> onnx.ModelProto:
    config = {
        "model_parameters": {"opset": opset},
        "quantization_parameters": {"precision_level": level, **_listed(settings)},
    }
    if output_path is not None:
        return quantize_onnx_model(config, model, output_path)
    return convert_in_memory(model, config)


def convert_in_memory(model: onnx.ModelProto | str | Path, config: dict[str, Any]) -> onnx.ModelProto:
    """Convert as the configuration says, and leave no file behind."""
    with scratch_folder() as folder:
        return quantize_onnx_model(config, model, folder / "model.onnx")


def _listed(settings: dict[str, Any]) -> dict[str, Any]:
    """Any sequence as the list that the configuration wants."""
    return {name: value if isinstance(value, str) else list(value) for name, value in settings.items()}
