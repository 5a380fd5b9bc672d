"""``xslim info``: inputs, outputs, operators, parameters and cost of a model."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from xslim.cli.text import say, say_json

if TYPE_CHECKING:
    from xslim.commands.info import ModelInfo, TensorInfo

OPERATORS_PER_LINE = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model and the form of the answer."""
    parser.add_argument("model", metavar="MODEL", help="ONNX model")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print what is in the model."""
    from xslim.commands.info import inspect_model

    info = inspect_model(Path(options.model))
    if options.json:
        say_json(asdict(info))
    else:
        say(*_lines(info))
    return 0


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
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        yield f"{name:<{width}}  {text}"
    counts = [f"{name} {count}" for name, count in info.operators.items()]
    for start in range(0, len(counts), OPERATORS_PER_LINE):
        yield f"{'':<{width}}  {', '.join(counts[start : start + OPERATORS_PER_LINE])}"


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
