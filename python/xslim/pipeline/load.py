"""Load the float model of a run."""

from __future__ import annotations

import onnx_ir as ir

from xslim.config import Config, PrecisionLevel
from xslim.errors import ModelError
from xslim.graph.io import load_model
from xslim.pipeline.paths import ModelSource

QDQ_OPERATORS = ("QuantizeLinear", "DequantizeLinear")
SHOWN_NAMES = 5


def load_float_model(config: Config, source: ModelSource) -> ir.Model:
    """Load the model; refuse a quantised model unless it is only simplified.

    Raises
    ------
    ModelError
        The model cannot be read, or it contains QuantizeLinear or DequantizeLinear.
    """
    model = load_model(source)
    if config.quantization_parameters.precision_level == PrecisionLevel.SLIM:
        return model
    require_float(model)
    return model


def require_float(model: ir.Model) -> None:
    """Refuse a model that contains QuantizeLinear or DequantizeLinear."""
    names = [node.name or node.op_type for node in model.graph.all_nodes() if node.op_type in QDQ_OPERATORS]
    if names:
        more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
        shown = ", ".join(names[:SHOWN_NAMES])
        raise ModelError(f"the model is quantised already: {shown}{more}", hint="give the float model")
