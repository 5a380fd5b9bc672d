"""Functions under the names and parameters that they have in XSlim 2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx

from xslim.pipeline.direct import DYNAMIC, HALF, convert_in_memory


def dynamic_quantize_onnx_model(
    file_or_model: onnx.ModelProto | str | Path,
    ignore_op_types_list: Sequence[str] = (),
    ignore_op_names_list: Sequence[str] = (),
    sim_en: bool = True,
    target_onnx_opset: int | None = None,
) -> onnx.ModelProto:
    """Do what `quantize_dynamic` does, with the parameters of XSlim 2.

    Parameters
    ----------
    file_or_model : onnx.ModelProto, str or Path
        The float model.
    ignore_op_types_list, ignore_op_names_list : sequence of str
        Operator types and names of nodes that stay float; shell patterns are allowed.
    sim_en : bool
        Simplify the graph.
    target_onnx_opset : int, optional
        Opset of the result; by default that of the model, at least 13.

    Returns
    -------
    onnx.ModelProto
        The new model; nothing is written.

    Raises
    ------
    XSlimError
        The model cannot be read or converted.
    """
    ignored = (ignore_op_types_list, ignore_op_names_list)
    return _convert(file_or_model, DYNAMIC, ignored, sim_en, target_onnx_opset)


def convert_to_fp16_onnx_model(
    file_or_model: onnx.ModelProto | str | Path,
    ignore_op_types_list: Sequence[str] = (),
    ignore_node_names_list: Sequence[str] = (),
    sim_en: bool = True,
    target_onnx_opset: int | None = None,
) -> onnx.ModelProto:
    """Do what `convert_fp16` does, with the parameters of XSlim 2.

    Parameters
    ----------
    file_or_model : onnx.ModelProto, str or Path
        The float model.
    ignore_op_types_list, ignore_node_names_list : sequence of str
        Operator types and names of nodes that stay float32; shell patterns are allowed.
    sim_en : bool
        Simplify the graph.
    target_onnx_opset : int, optional
        Opset of the result; by default that of the model.

    Returns
    -------
    onnx.ModelProto
        The new model; nothing is written.

    Raises
    ------
    XSlimError
        The model cannot be read or converted.
    """
    ignored = (ignore_op_types_list, ignore_node_names_list)
    return _convert(file_or_model, HALF, ignored, sim_en, target_onnx_opset)


def _convert(
    model: onnx.ModelProto | str | Path,
    level: int,
    ignored: tuple[Sequence[str], Sequence[str]],
    simplify: bool,
    opset: int | None,
) -> onnx.ModelProto:
    types, names = ignored
    settings = {"ignore_op_types": list(types), "ignore_op_names": list(names)}
    return convert_in_memory(
        model,
        {
            "model_parameters": {"opset": opset, "skip_onnxsim": not simplify},
            "quantization_parameters": {"precision_level": level, **settings},
        },
    )
