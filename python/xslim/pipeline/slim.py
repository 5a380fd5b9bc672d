"""Precision level 100: graph preparation without quantisation."""

from __future__ import annotations

import logging
from pathlib import Path

import onnx
import onnx_ir as ir

from xslim.config import Config
from xslim.graph.cost import ModelCost, model_cost
from xslim.graph.io import external_bytes
from xslim.passes.folding import infer_shapes
from xslim.pipeline.finish import Output
from xslim.pipeline.paths import ModelSource
from xslim.pipeline.prepare import prepare_model
from xslim.texts import spoken
from xslim.texts.columns import table

# Graph preparation does not need a higher opset than that of the model.
ANY_OPSET = 1


logger = logging.getLogger(__name__)


def convert(model: ir.Model, config: Config, output: Output) -> ir.Model:
    """Simplify the model, write it, and log its operators before and after."""
    result = output.write(prepare_model(model, config, output.original, minimum_opset=ANY_OPSET))
    sizes = _source_bytes(output.source, model), _file_bytes(output.path)
    logger.info("operators before and after:\n%s", operator_table(model, result, *sizes))
    return result


def operator_table(before: ir.Model, after: ir.Model, bytes_before: int, bytes_after: int) -> str:
    """Return operators, parameters, multiply-accumulate operations and file size of two models as a table.

    Parameters
    ----------
    before, after : onnx_ir.Model
        The two models. Missing shapes of `before` are inferred in place.
    bytes_before, bytes_after : int
        Sizes of the files.
    """
    infer_shapes(before)
    return format_costs(model_cost(before), model_cost(after), bytes_before, bytes_after)


def format_costs(before: ModelCost, after: ModelCost, bytes_before: int, bytes_after: int) -> str:
    """Return two costs side by side as a table."""
    old, new = before.counts, after.counts
    # A line break in a name must not look like the end of a row.
    names = {name: name.replace("\n", r"\n") for name in sorted(old | new)}
    rows = [(shown, f"{old[name]:,}", f"{new[name]:,}") for name, shown in names.items()]
    rows += [
        (spoken("all operators"), f"{old.total():,}", f"{new.total():,}"),
        (spoken("parameters"), f"{before.parameters:,}", f"{after.parameters:,}"),
        ("MACs", _macs(before), _macs(after)),
        (spoken("file size"), f"{bytes_before / 1e6:.2f} MB", f"{bytes_after / 1e6:.2f} MB"),
    ]
    return "\n".join(table([tuple(map(spoken, ("operator", "before", "after"))), *rows], "<>>"))


def _macs(cost: ModelCost) -> str:
    return f"{'at least ' if cost.unknown_shapes else ''}{cost.macs:,}"


def _source_bytes(source: ModelSource, model: ir.Model) -> int:
    file = source.ByteSize() if isinstance(source, onnx.ModelProto) else source.stat().st_size
    return file + external_bytes(model)


def _file_bytes(path: Path) -> int:
    weights = path.with_name(f"{path.name}.data")
    return path.stat().st_size + (weights.stat().st_size if weights.exists() else 0)
