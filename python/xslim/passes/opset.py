"""Convert the model to another opset, and find what an opset has and lacks."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

import onnx_ir as ir

from xslim.errors import ModelError
from xslim.graph.ops import is_standard, opset
from xslim.graph.outside import transform_proto
from xslim.passes.raising import hide_raised, reveal_raised

logger = logging.getLogger(__name__)

_SCAN_WITHOUT_BATCH = 9
_EARLY = "xslim.early"


def convert_opset(model: ir.Model, target: int, reason: str) -> ir.Model:
    """Convert the model to opset `target`, log both opsets and the reason, and return the new model.

    Raises
    ------
    ModelError
        The target is unknown, or an operator of the model or of its functions cannot be converted to it.
    """
    from onnx import defs, version_converter

    current, newest = opset(model), defs.onnx_opset_version()
    if current in (target, 0):
        return model
    if not 1 <= target <= newest:
        raise ModelError(
            f"unknown opset {target}: the installed onnx knows 1 to {newest}",
            hint="choose one of them, or upgrade onnx",
        )
    obstacle = function_obstacle(model, target) or _scan_obstacle(model, target)
    if obstacle is not None:
        raise ModelError(
            f"cannot convert opset {current} to {target}: {obstacle}",
            hint="keep the opset, or export the model again in that one",
        )
    model = model.clone()
    hide_raised(model, target)
    try:
        with _early_hidden(model) as hidden:
            converted = transform_proto(model, lambda proto: version_converter.convert_version(proto, target))
        _uncover(converted, hidden)
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"cannot convert opset {current} to {target}: {_first_line(error)}", hint="choose another opset"
        ) from error
    reveal_raised(converted)
    for function in converted.functions.values():
        if "" in function.opset_imports:
            function.opset_imports[""] = target
    logger.info("opset %d -> %d: %s", current, target, reason)
    return converted


@contextlib.contextmanager
def _early_hidden(model: ir.Model) -> Iterator[bool]:
    """While open, operators that the opset lacks are in a domain that the converter ignores.

    onnxruntime runs some standard operators in opsets that lack them, such as LayerNormalization before opset
    17.
    """
    current = opset(model)
    early = [
        node
        for node in model.graph.all_nodes()
        if node.domain == "" and since_version(node.op_type, current) is None
    ]
    for node in early:
        node.domain = _EARLY
    if early:
        model.graph.opset_imports[_EARLY] = 1
    try:
        yield bool(early)
    finally:
        for node in early:
            node.domain = ""
        model.graph.opset_imports.pop(_EARLY, None)


def _uncover(model: ir.Model, hidden: bool) -> None:
    if hidden:
        for node in model.graph.all_nodes():
            if node.domain == _EARLY:
                node.domain = ""
        model.graph.opset_imports.pop(_EARLY, None)


def early_operators(model: ir.Model) -> dict[str, int]:
    """Return the standard operators that the model's opset lacks, each with the first opset that has it."""
    from onnx import defs

    current = opset(model)
    used = {node.op_type for node in model.graph.all_nodes() if node.domain == ""}
    unknown = {operator for operator in used if since_version(operator, current) is None}
    newest = defs.onnx_opset_version()
    first = {operator: _first_version(operator, newest) for operator in sorted(unknown)}
    return {
        operator: version for operator, version in first.items() if version is not None and version > current
    }


def _first_version(operator: str, newest: int) -> int | None:
    return next((version for version in range(1, newest + 1) if since_version(operator, version)), None)


def function_obstacle(model: ir.Model, target: int) -> str | None:
    """Return an operator of the model's functions that differs in opset `target`, or None.

    The converter does not convert functions, so their operators must be the same in both opsets.
    """
    for function in model.functions.values():
        version = function.opset_imports.get("", opset(model))
        for node in function.all_nodes():
            if node.domain == "" and since_version(node.op_type, version) != since_version(
                node.op_type, target
            ):
                return (
                    f"operator {node.op_type} in function {function.domain}.{function.name} is another there"
                )
    return None


def _scan_obstacle(model: ir.Model, target: int) -> str | None:
    """Refuse Scan of opset 8: it has a batch axis, which the converter does not handle."""
    crosses = opset(model) < _SCAN_WITHOUT_BATCH <= target
    if crosses and any(is_standard(node, "Scan") for node in model.graph.all_nodes()):
        return "operator Scan has a batch axis before opset 9"
    return None


def since_version(operator: str, version: int) -> int | None:
    """Return the opset that introduced the operator's form in opset `version`, or None if there is none."""
    from onnx import defs

    try:
        return int(defs.get_schema(operator, version).since_version)
    except defs.SchemaError:
        return None


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
