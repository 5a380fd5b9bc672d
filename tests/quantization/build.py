"""Helpers for tests of quantisation: graphs in ONNX text, their plans and quantised models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper

from tests import models
from xslim.export.qdq import export_qdq
from xslim.graph.io import load_model, to_proto
from xslim.graph.outputs import with_outputs
from xslim.graph.scheme import Quantization, QuantPlan
from xslim.kernels import Sketch
from xslim.passes import prepare
from xslim.quantization.parameters import find_parameters
from xslim.quantization.plan import make_plan
from xslim.quantization.rules import OperatorSettings, Region, Rules
from xslim.targets import Target, load_target

NETS = [models.conv_net, models.mlp, models.depthwise_net, models.residual_net]
Feeds = Mapping[str, NDArray[np.generic]]


def graph(
    text: str, weights: Mapping[str, NDArray[np.generic]] | None = None, *, opset: int = 17
) -> onnx.ModelProto:
    """Parse ``(inputs) => (outputs) { nodes }``; nodes are named after their first output."""
    proto = onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> net {text}')
    for node in proto.graph.node:
        node.name = node.name or node.output[0]
    tensors = {name: np.asarray(value) for name, value in (weights or {}).items()}
    proto.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
    onnx.checker.check_model(proto)
    return proto


def prepared(proto: onnx.ModelProto) -> ir.Model:
    """Prepare a model as a run does, but for the general slimming."""
    return prepare(load_model(proto), skip_slim=True)


def plan_of(
    model: ir.Model,
    level: int = 0,
    *,
    target: str = "spacemit",
    regions: Sequence[Region] = (),
    types: Sequence[str] = (),
    names: Sequence[str] = (),
    masks: Sequence[str] = (),
) -> QuantPlan:
    """Plan a prepared model."""
    rules = Rules(OperatorSettings(level), tuple(regions), types, names, frozenset(masks))
    return make_plan(model, load_target(target), rules)


def int8(plan: QuantPlan) -> set[str]:
    """Names of the int8 operators."""
    return set(plan.int8_operators)


def reason(plan: QuantPlan, name: str) -> str:
    """Why an operator is what it is."""
    return next(operator.reason for operator in plan.operators if operator.name == name)


def tensors(plan: QuantPlan) -> set[str]:
    """Names of the int8 activations."""
    return {name for group in plan.groups for name in group.tensors}


def normal(seed: int, *shape: int, scale: float = 1.0) -> NDArray[np.float32]:
    """Normal numbers."""
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


def observed(model: ir.Model, names: Sequence[str], feeds: Sequence[Feeds]) -> dict[str, Sketch]:
    """Run the float model and sketch tensors."""
    sketches = {name: Sketch() for name in names}
    if names:
        outputs = [run(to_proto(with_outputs(model, names)), item) for item in feeds]
        for values in outputs:
            for name, value in zip(names, values, strict=True):
                sketches[name].observe(value)
    return sketches


def quantise(
    model: ir.Model, plan: QuantPlan, feeds: Sequence[Feeds], target: str = "spacemit"
) -> tuple[onnx.ModelProto, Quantization]:
    """Search the numbers of a plan and export the model."""
    found = find_parameters(model, plan, observed(model, plan.observed, feeds))
    return exported(model, plan, found, load_target(target)), found


def exported(model: ir.Model, plan: QuantPlan, found: Quantization, target: Target) -> onnx.ModelProto:
    """Export and check."""
    proto = to_proto(export_qdq(model, plan, found, target))
    onnx.checker.check_model(proto, full_check=True)
    return proto


def feeds_of(proto: onnx.ModelProto) -> list[dict[str, np.ndarray]]:
    """Four samples for a model of tests.models whose shapes are known."""
    shape = [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    return [{"x": normal(seed, *shape)} for seed in range(4)]


def run(proto: onnx.ModelProto, feeds: Feeds, *, as_written: bool = True) -> list[NDArray[np.generic]]:
    """Run a model, by default with every Q/DQ node computed for itself."""
    return session(proto, as_written=as_written).run(None, dict(feeds))


def session(
    proto: onnx.ModelProto, *, as_written: bool = True, signed: bool = False, optimised: str | None = None
) -> ort.InferenceSession:
    """Load a model; `optimised` names the file for the graph that onnxruntime makes of it.

    With `signed`, onnxruntime takes its int8 kernels on x86-64 as well, where it prefers uint8.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    if as_written:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    if signed:
        options.add_session_config_entry("session.qdqisint8allowed", "1")
    if optimised is not None:
        options.optimized_model_filepath = optimised
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def fused(proto: onnx.ModelProto, folder: Path, *, signed: bool) -> tuple[ort.InferenceSession, Counter[str]]:
    """Load a model with all optimisations; return the session and the operators of its graph."""
    file = folder / "optimised.onnx"
    loaded = session(proto, as_written=False, signed=signed, optimised=str(file))
    return loaded, Counter(node.op_type for node in onnx.load(file).graph.node)


def sqnr(reference: NDArray[np.generic], test: NDArray[np.generic]) -> float:
    """Signal-to-quantisation-noise ratio in decibels."""
    noise = ((reference.astype(np.float64) - test) ** 2).sum()
    return float(10 * np.log10((reference.astype(np.float64) ** 2).sum() / max(noise, 1e-30)))
