"""Layers as matrices, bias correction and inserted factors are compared with onnxruntime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from tests import models
from tests.quantization.build import graph, normal, plan_of, prepared
from xslim.calibration.grams import GramCollector
from xslim.export.qdq import export_qdq
from xslim.graph.io import to_proto
from xslim.graph.layers import layers, weight_of
from xslim.graph.ops import constant
from xslim.graph.outputs import with_outputs
from xslim.graph.scheme import ConstantPlan, Quantization
from xslim.kernels import Sketch
from xslim.quantization.balancing import SUFFIX, insert_factors, remove_unused_factors
from xslim.quantization.bias_correction import add_to_bias, correct_biases
from xslim.quantization.channels import trace_channels
from xslim.quantization.equalization import equalize
from xslim.quantization.parameters import find_parameters
from xslim.quantization.rounding import layers_to_round, round_to_nearest, round_with_feedback
from xslim.runtime import Session
from xslim.targets import load_target

TARGET = load_target("spacemit")


def sample(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.abs(np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def run(model: ir.Model, x: np.ndarray, names: list[str]) -> list[np.ndarray]:
    return Session(to_proto(with_outputs(model, names)).SerializeToString(), names).run({"x": x})


CASES = {
    "conv": (
        "(float[1,4,8,9] x) => (float[1,6,4,5] y) {y = Conv <strides=[2,2], pads=[1,1,1,1]> (x, w)}",
        (6, 4, 3, 3),
    ),
    "grouped": ("(float[1,4,8,9] x) => (float[1,6,6,7] y) {y = Conv <group=2> (x, w)}", (6, 2, 3, 3)),
    "depthwise": ("(float[1,4,8,9] x) => (float[1,8,6,7] y) {y = Conv <group=4> (x, w)}", (8, 1, 3, 3)),
    "one-dimensional": ("(float[1,4,9] x) => (float[1,6,9] y) {y = Conv <pads=[1,1]> (x, w)}", (6, 4, 3)),
    "product": ("(float[2,5,4] x) => (float[2,5,6] y) {y = MatMul(x, w)}", (4, 6)),
    "one vector": ("(float[4] x) => (float[6] y) {y = MatMul(x, w)}", (4, 6)),
    "gemm": ("(float[5,4] x) => (float[5,6] y) {y = Gemm <transB=1> (x, w)}", (6, 4)),
    "plain gemm": ("(float[5,4] x) => (float[5,6] y) {y = Gemm(x, w)}", (4, 6)),
}


@pytest.mark.parametrize("name", list(CASES))
def test_a_layer_is_its_matrix(name: str) -> None:
    """The mean output is the matrix times the mean vector, zeros around an image included."""
    text, shape = CASES[name]
    model = prepared(graph(text, {"w": models.draw(1, *shape)}))
    found = layers(model.graph)
    layer = next(iter(found.values()))
    x = sample(tuple(model.graph.inputs[0].shape.numpy()))
    inputs, outputs = run(model, x, [layer.vectors.source, "y"])
    collector = GramCollector([layer.vectors], 1, lambda number: False)
    for _ in range(40):
        collector.update({layer.vectors.source: inputs})
    gram = collector.grams[layer.vectors]
    weight = weight_of(model.graph, layer)
    matrix = layer.matrix(weight)
    np.testing.assert_array_equal(layer.restore(matrix, weight.shape), weight)
    axis = 1 if layer.vectors.window else -1
    expected = np.moveaxis(outputs, axis, -1).reshape(-1, matrix.shape[0]).mean(axis=0)
    bias = constant(model.graph.initializers.get("bias")) if "bias" in model.graph.initializers else 0.0
    tolerance = 0.1 * np.abs(expected).max() if gram.count < outputs.size // matrix.shape[0] * 40 else 1e-5
    np.testing.assert_allclose(layer.mean_output(matrix, gram.mean) + bias, expected, atol=tolerance)


def quantized(model: ir.Model, xs: list[np.ndarray]) -> tuple[Quantization, GramCollector, object]:
    plan = plan_of(model)
    sketches = {name: Sketch() for name in plan.observed}
    collector = GramCollector(
        [layer.vectors for _, layer in layers_to_round(model, plan)], len(xs), lambda n: n == 2
    )
    for x in xs:
        names = list(dict.fromkeys([*sketches, *collector.tensors]))
        arrays = dict(zip(names, run(model, x, names), strict=True))
        for name, sketch in sketches.items():
            sketch.observe(arrays[name])
        collector.update(arrays)
    return find_parameters(model, plan, sketches), collector, plan


@pytest.mark.parametrize("bias", [True, False])
def test_corrected_biases_keep_the_mean(bias: bool) -> None:
    weights = {"w": models.draw(1, 6, 4, 3, 3)} | ({"b": models.draw(2, 6)} if bias else {})
    text = "(float[1,4,8,8] x) => (float[1,6,8,8] y) {y = Conv <pads=[1,1,1,1]> (x, w%s)}" % (
        ", b" if bias else ""
    )
    model = prepared(graph(text, weights))
    xs = [sample((1, 4, 8, 8), seed) for seed in range(60)]
    numbers, collector, plan = quantized(model, xs)
    coarse = round_to_nearest(model, plan, numbers, 4)
    means = {vectors: gram.mean for vectors, gram in collector.grams.items()}
    corrected = correct_biases(model, plan, coarse, means, TARGET)

    def shift(float_model: ir.Model) -> float:
        exported = export_qdq(float_model, plan, replace(coarse, activations={}), TARGET)
        errors = [run(exported, x, ["y"])[0] - run(model, x, ["y"])[0] for x in xs]
        return float(np.abs(np.concatenate(errors).mean(axis=(0, 2, 3))).max())

    assert shift(corrected) < 0.3 * shift(model)


@pytest.mark.parametrize("stored", [False, True])
def test_only_a_bias_that_stays_float_is_corrected(stored: bool) -> None:
    text = "(float[1,3,4] x) => (float[1,3,5] y) { m = MatMul(x, w)  y = Add(m, b) }"
    model = prepared(graph(text, {"w": normal(1, 4, 5), "b": normal(2, 5)}))
    plan = plan_of(model)
    if stored:
        plan = replace(plan, constants=(*plan.constants, ConstantPlan("b", None, False, ("y",))))
    bias = add_to_bias(model.graph.node("m"), TARGET, plan, np.ones(5))
    assert (bias is None) is stored
    change = np.asarray(constant(model.graph.initializers["b"])) - normal(2, 5)
    np.testing.assert_allclose(change, 0 if stored else 1, rtol=1e-6)


def test_feedback_lowers_the_error_of_a_network() -> None:
    model = prepared(models.conv_net())
    xs = [sample((1, 3, 8, 8), seed) for seed in range(60)]
    numbers, collector, plan = quantized(model, xs)
    means = {vectors: gram.mean for vectors, gram in collector.grams.items()}
    nearest = round_to_nearest(model, plan, numbers, 4)
    fed_back = round_with_feedback(model, plan, nearest, collector.grams, bits=4)

    def error(constants: Quantization) -> float:
        corrected = correct_biases(model, plan, constants, means, TARGET)
        exported = export_qdq(corrected, plan, replace(constants, activations={}), TARGET)
        fresh = [sample((1, 3, 8, 8), seed) for seed in range(100, 130)]
        return float(sum(((run(exported, x, ["y"])[0] - run(model, x, ["y"])[0]) ** 2).sum() for x in fresh))

    assert error(fed_back) < 0.97 * error(nearest)


@pytest.mark.parametrize("value", [np.inf, np.nan])
@pytest.mark.parametrize("when", [0, 3])
def test_layers_with_endless_inputs_keep_weights_rounded_to_nearest(value: float, when: int) -> None:
    model = prepared(models.conv_net())
    xs = [sample((1, 3, 8, 8), seed) for seed in range(6)]
    plan = plan_of(model)
    numbers, _, _ = quantized(model, xs)
    found = {layer.vectors: constant for constant, layer in layers_to_round(model, plan)}
    first, *others = found
    whole, broken = (GramCollector(found, len(xs), lambda _: False) for _ in range(2))
    for number, x in enumerate(xs):
        arrays = dict(zip(broken.tensors, run(model, x, list(broken.tensors)), strict=True))
        whole.update(arrays)
        if number == when:
            arrays[first.source] = np.full_like(arrays[first.source], value)
        broken.update(arrays)
    assert list(broken.usable()) == others
    rounded = round_with_feedback(model, plan, numbers, broken.usable())
    expected = round_with_feedback(model, plan, numbers, whole.usable())
    assert rounded.constants[found[first]] is numbers.constants[found[first]]
    for vectors in others:
        np.testing.assert_array_equal(
            rounded.constants[found[vectors]].values, expected.constants[found[vectors]].values
        )


def test_held_back_batches_are_not_collected() -> None:
    model = prepared(models.conv_net())
    _, collector, _ = quantized(model, [sample((1, 3, 8, 8), seed) for seed in range(3)])
    _, fewer, _ = quantized(model, [sample((1, 3, 8, 8), seed) for seed in range(2)])
    for vectors, gram in collector.grams.items():
        assert gram.count <= fewer.grams[vectors].count


NORMALISED = """(float[2,5,8] x) => (float[2,5,8] y) {
    n = LayerNormalization <axis=-1> (x, g, h)
    m = MatMul(n, w)
    y = Add(m, n)
}"""


def test_factors_stand_between_float_operators_and_int8_layers() -> None:
    random = np.random.default_rng(0)
    gain = (10.0 ** random.uniform(-1, 1, 8)).astype(np.float32)
    proto = graph(NORMALISED, {"g": gain, "h": models.draw(2, 8), "w": models.draw(3, 8, 8)})
    model = prepared(proto)
    plan = plan_of(model, 2)
    extended = insert_factors(model, plan)
    added = [node for node in extended.graph if (node.name or "").endswith(SUFFIX)]
    assert len(added) == 1
    axes = trace_channels(extended.graph)
    scaled = added[0].outputs[0].name or ""
    x = sample((2, 5, 8))
    ranges = {scaled: np.abs(run(extended, x, [scaled])[0]).max(axis=(0, 1)).astype(np.float64)}
    assert len(axes[scaled].ids) == 8
    equalized, _ = equalize(extended, ranges)
    after = np.abs(run(equalized, x, [scaled])[0]).max(axis=(0, 1))
    assert after.max() < 1.01 * after.min()
    np.testing.assert_allclose(run(equalized, x, ["y"])[0], run(model, x, ["y"])[0], atol=1e-4)
    assert any((node.name or "").endswith(SUFFIX) for node in remove_unused_factors(equalized).graph)
    bare = remove_unused_factors(extended)
    assert [node.op_type for node in bare.graph] == [node.op_type for node in model.graph]
    np.testing.assert_array_equal(run(bare, x, ["y"])[0], run(model, x, ["y"])[0])
