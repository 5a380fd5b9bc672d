"""The public functions: one with a configuration, three without, two with the names of XSlim 2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from xslim.config import ConfigSource, PrecisionLevel
from xslim.errors import ConfigError
from xslim.files import scratch_folder
from xslim.graph.io import PROTO_LIMIT_BYTES, to_proto, weight_bytes
from xslim.pipeline.paths import ModelArgument
from xslim.pipeline.run import run


def quantize_onnx_model(
    config_or_path: ConfigSource | None = None,
    model_or_path: ModelArgument | None = None,
    output_path: str | Path | None = None,
    *,
    path_or_config: ConfigSource | None = None,
    input_onnx_model_or_path: ModelArgument | None = None,
) -> onnx.ModelProto:
    """Quantise an ONNX model as a configuration says, and write the result.

    Parameters
    ----------
    config_or_path : dict, str, Path or Config
        The configuration, or the path of its JSON file.
    model_or_path : onnx.ModelProto, str or Path, optional
        The model; by default ``model_parameters.onnx_model`` of the configuration.
    output_path : str or Path, optional
        A ``.onnx`` file or a folder; by default ``<working_dir>/<output_prefix>.onnx``.
    path_or_config, input_onnx_model_or_path : optional
        The names that the first two parameters have in XSlim 2.

    Returns
    -------
    onnx.ModelProto
        The model that was written. If its weights exceed 2 GB, they stay in a file to which the model refers.

    Raises
    ------
    XSlimError
        Bad input (`ConfigError`, `DataError`, `ModelError`, `OutputError`) is refused before anything is
        written. `InternalError` is raised if the result does not pass its checks. No partial file is left.
    """
    config: ConfigSource | None = _either("config_or_path", config_or_path, "path_or_config", path_or_config)
    if config is None:
        raise ConfigError(
            "no configuration is given", where="config_or_path", hint="give a dict or a JSON file"
        )
    model: ModelArgument | None = _either(
        "model_or_path", model_or_path, "input_onnx_model_or_path", input_onnx_model_or_path
    )
    finished, path = run(config, model, output_path)
    if weight_bytes(finished.model) > PROTO_LIMIT_BYTES:
        return onnx.load(path, load_external_data=False)
    return to_proto(finished.model)


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
    return _convert(model, output_path, PrecisionLevel.DYNAMIC, opset, settings)


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
    """Convert a model to float16, except operators that would lose accuracy or overflow.

    Inputs and outputs keep their types.

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
    return _convert(model, output_path, PrecisionLevel.HALF, opset, settings)


def slim(
    model: onnx.ModelProto | str | Path,
    output_path: str | Path | None = None,
    *,
    opset: int | None = None,
) -> onnx.ModelProto:
    """Simplify a model: the result computes the same with fewer operators.

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
    return _convert(model, output_path, PrecisionLevel.SLIM, opset, {})


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
    return _convert_as_before(file_or_model, PrecisionLevel.DYNAMIC, ignored, sim_en, target_onnx_opset)


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
    return _convert_as_before(file_or_model, PrecisionLevel.HALF, ignored, sim_en, target_onnx_opset)


def _either(name: str, value: Any, older_name: str, older: Any) -> Any:
    """Return the argument that was given, under whichever of its two names."""
    if value is not None and older is not None:
        raise ConfigError(f"{older_name} is another name of {name}", hint="give one of the two")
    return older if value is None else value


def _convert(
    model: onnx.ModelProto | str | Path,
    output_path: str | Path | None,
    level: PrecisionLevel,
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
    """Convert a model according to a configuration, and leave no file behind."""
    with scratch_folder() as folder:
        return quantize_onnx_model(config, model, folder / "model.onnx")


def _listed(settings: dict[str, Any]) -> dict[str, Any]:
    """Convert sequences to lists, which the configuration requires."""
    return {name: value if isinstance(value, str) else list(value) for name, value in settings.items()}


def _convert_as_before(
    model: onnx.ModelProto | str | Path,
    level: PrecisionLevel,
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
