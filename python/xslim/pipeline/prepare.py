"""Prepare a float model according to the configuration."""

from __future__ import annotations

import onnx_ir as ir

from xslim.config import Config
from xslim.export.qdq import needed_opset
from xslim.passes import prepare
from xslim.passes.folding import infer_shapes
from xslim.passes.preparation import PER_CHANNEL_OPSET
from xslim.passes.steps import UNHEARD, Steps
from xslim.pipeline.original import Original
from xslim.pipeline.proof import prepare_proved
from xslim.pipeline.weights import check_weights
from xslim.runtime import needs_onnxruntime, state_types
from xslim.targets import target_of


def prepare_model(
    model: ir.Model,
    config: Config,
    original: Original | None = None,
    *,
    minimum_opset: int = PER_CHANNEL_OPSET,
    raise_opset: bool = True,
) -> ir.Model:
    """Run the graph preparation with the options of the configuration; tensors that it names are kept.

    With `original`, the result is proved against it. Without `raise_opset`, the opset is raised only where
    the result could not be written otherwise.

    Raises
    ------
    ModelError
        The opset cannot be converted, or a weight of a model for static int8 is NaN or infinite.
    InternalError
        The prepared model computes something else.
    """
    learn_types(model)
    parameters, wanted = config.model_parameters, config.quantization_parameters
    regions = wanted.custom_setting or ()
    named = [name for region in regions for name in (*region.input_names, *region.output_names)]
    target = target_of(config)

    def run(steps: Steps, without_onnxslim: bool) -> ir.Model:
        return prepare(
            model,
            skip_slim=parameters.skip_onnxsim or without_onnxslim,
            opset=parameters.opset,
            raise_opset_for=target.raises_opset_for if raise_opset else (),
            functions=parameters.functions,
            minimum_opset=max(minimum_opset, needed_opset(model)) if config.is_static else minimum_opset,
            keep=[*named, *wanted.truncate_var_names],
            unpack=wanted.precision_level.has_int8,
            corrected=original.corrected_shapes() if original else None,
            steps=steps,
        )

    prepared = prepare_proved(original, run) if original else run(UNHEARD, False)
    learn_types(prepared)
    check_weights(prepared, target, refuse=config.is_static)
    return prepared


def learn_types(model: ir.Model) -> None:
    """Add types and shapes behind onnxruntime's own operators, which only onnxruntime can infer."""
    if needs_onnxruntime(model):
        infer_shapes(model)
        state_types(model)
        infer_shapes(model)
