"""``xslim info``: inputs, outputs, operators, parameters and cost of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from xslim.commands.text import say, say_json
from xslim.graph.cost import model_cost
from xslim.graph.io import external_bytes
from xslim.passes.folding import infer_shapes
from xslim.pipeline.paths import ModelSource
from xslim.pipeline.protect import load_protected_model
from xslim.texts import spoken
from xslim.texts.columns import table

STATIC = ("QuantizeLinear",)
DYNAMIC = ("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM", "MatMulInteger")
OPERATORS_PER_LINE = 6


@dataclass(frozen=True)
class TensorInfo:
    """An input or output: name, element type and shape (names for symbolic sizes; None when not known)."""

    name: str
    dtype: str
    shape: tuple[int | str | None, ...] | None


@dataclass(frozen=True)
class ModelInfo:
    """The facts about a model.

    Attributes
    ----------
    path : str
        The file.
    file_bytes : int
        Its size, with external weights.
    producer : str
        The program that wrote it.
    ir_version : int
    opsets : dict of str to int
        Version by domain; the standard domain is ``ai.onnx``.
    inputs, outputs : tuple of TensorInfo
    operators : dict of str to int
        Number by type, nested graphs included and constants left out, the most frequent first.
    functions : tuple of str
        Model-local functions.
    subgraphs : int
        Bodies of control-flow operators.
    parameters : int
        Elements of all weights.
    weight_types : dict of str to int
        Elements by type.
    macs : int
        Multiply-accumulate operations of one run with every symbolic dimension 1.
    macs_complete : bool
        Whether all shapes are known on which `macs` depends; else `macs` is a lower bound.
    quantization : str
        ``float32``, ``float16``, ``static int8 (QDQ)``, ``dynamic int8`` or ``int8 weights``.
    """

    path: str
    file_bytes: int
    producer: str
    ir_version: int
    opsets: dict[str, int]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    operators: dict[str, int]
    functions: tuple[str, ...]
    subgraphs: int
    parameters: int
    weight_types: dict[str, int]
    macs: int
    macs_complete: bool
    quantization: str


def run(model: str, as_json: bool) -> int:
    """Print what is in the model."""
    info = inspect_model(Path(model))
    if as_json:
        say_json(asdict(info))
    else:
        say(*_lines(info))
    return 0


def inspect_model(source: ModelSource) -> ModelInfo:
    """Read a model and gather the facts about it.

    Raises
    ------
    ModelError
        The model cannot be read.
    """
    model = load_protected_model(source)
    plain = model.clone()
    # Weights in Constant nodes count like initializers.
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(plain)
    infer_shapes(plain)
    cost = model_cost(plain)
    weights = _weight_types(plain)
    graph = model.graph
    return ModelInfo(
        path=str(source) if isinstance(source, Path) else "(in memory)",
        file_bytes=_size(source) + external_bytes(model),
        producer=" ".join(filter(None, [model.producer_name, model.producer_version])),
        ir_version=model.ir_version,
        opsets={domain or "ai.onnx": version for domain, version in sorted(model.opset_imports.items())},
        inputs=tuple(_tensor(value) for value in graph.inputs if value.name not in graph.initializers),
        outputs=tuple(_tensor(value) for value in graph.outputs),
        operators=dict(sorted(cost.counts.items(), key=lambda item: (-item[1], item[0]))),
        functions=tuple(f"{function.domain}.{function.name}" for function in model.functions.values()),
        subgraphs=sum(1 for _ in model.graphs()) - 1,
        parameters=cost.parameters,
        weight_types=dict(weights),
        macs=cost.macs,
        macs_complete=not cost.unknown_shapes,
        quantization=_quantization(cost.counts, weights),
    )


def _size(source: ModelSource) -> int:
    return source.stat().st_size if isinstance(source, Path) else source.ByteSize()


def _tensor(value: ir.Value) -> TensorInfo:
    shape = (
        None
        if value.shape is None
        else tuple(dim if isinstance(dim, int) else dim.value for dim in value.shape)
    )
    return TensorInfo(value.name or "", value.dtype.name.lower() if value.dtype else "unknown", shape)


def _weight_types(model: ir.Model) -> Counter[str]:
    """Elements of the initializers by type; scalars and shapes count too."""
    types: Counter[str] = Counter()
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                types[value.const_value.dtype.name.lower()] += int(np.prod(value.const_value.shape.numpy()))
    return Counter(dict(types.most_common()))


def _quantization(operators: Counter[str], weights: Counter[str]) -> str:
    if any(operators[name] for name in DYNAMIC):
        return "dynamic int8"
    if any(operators[name] for name in STATIC):
        return "static int8 (QDQ)"
    if operators["DequantizeLinear"]:
        return "int8 weights"
    return "float16" if weights["float16"] > weights["float"] else "float32"


def _lines(info: ModelInfo) -> Iterator[str]:
    rows = [
        ("model", f"{info.path} ({info.file_bytes / 1e6:.2f} MB)"),
        ("written by", info.producer or "unknown"),
        ("opset", ", ".join(f"{domain} {version}" for domain, version in info.opsets.items())),
        ("IR version", str(info.ir_version)),
        ("arithmetic", info.quantization),
        ("parameters", f"{info.parameters:,} ({_types(info.weight_types)})"),
        ("MACs", f"{'' if info.macs_complete else 'at least '}{info.macs:,}{_assumption(info)}"),
        *((f"input {tensor.name}", _shape(tensor)) for tensor in info.inputs),
        *((f"output {tensor.name}", _shape(tensor)) for tensor in info.outputs),
        ("functions", ", ".join(info.functions) or "none"),
        ("subgraphs", str(info.subgraphs)),
        ("operators", f"{sum(info.operators.values()):,}"),
    ]
    counts = [f"{name} {count}" for name, count in info.operators.items()]
    rows += [
        ("", ", ".join(counts[start : start + OPERATORS_PER_LINE]))
        for start in range(0, len(counts), OPERATORS_PER_LINE)
    ]
    yield from table([(spoken(name), text) for name, text in rows], "<<")


def _types(types: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in types.items()) or "no weights"


def _assumption(info: ModelInfo) -> str:
    shapes = [tensor.shape or (None,) for tensor in info.inputs]
    is_open = any(not isinstance(dim, int) for shape in shapes for dim in shape)
    return " (symbolic dimensions as 1)" if is_open else ""


def _shape(tensor: TensorInfo) -> str:
    if tensor.shape is None:
        return f"{tensor.dtype}, shape not known"
    return f"{tensor.dtype} [{', '.join('?' if dim is None else str(dim) for dim in tensor.shape)}]"
