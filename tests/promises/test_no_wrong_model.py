"""A prepared model computes what the original does, or is refused with a reason."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import xslim
from tests.passes.build import draw
from tests.promises.operators import FORMS, OLDEST, REDUCTIONS, Form, changes
from xslim.cli import main
from xslim.errors import InternalError, ModelError
from xslim.graph.io import load_model
from xslim.passes import preparation, prepare
from xslim.pipeline.original import Original
from xslim.pipeline.proof import prepare_proved
from xslim.runtime import Isolated, Session, disagreement

CHANGES = changes()


@pytest.fixture(scope="module")
def isolated() -> Iterator[Isolated]:
    with Isolated() as process:
        yield process


LOWEST = 13

LATER = "up to opset 21 only"
YOUNG = "older releases of onnxruntime lack it, or its newest form"
WITHOUT_KERNEL = {
    **dict.fromkeys(("GlobalLpPool", "MaxRoiPool", "RoiAlign", "Bernoulli", "Multinomial"), LATER),
    **dict.fromkeys(("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"), LATER),
    **dict.fromkeys(("Attention", "DeformConv", "Det", "Range", "SpaceToDepth", "BitShift", "Celu"), YOUNG),
    **dict.fromkeys(("QuantizeLinear", "DequantizeLinear", "QLinearMatMul", "Cast", "CastLike"), YOUNG),
    **dict.fromkeys(("Optional", "OptionalGetElement", "OptionalHasElement"), YOUNG),
}
"""Operators that onnxruntime does not run in every opset: what it does not run is not compared."""

NEW = r"its (attribute|input) \w+ does not exist there"
ABSENT = "does not exist in opset .* and has no equivalent there"
REFUSED = {
    **dict.fromkeys(
        ("AveragePool", "LpPool", "Pad", "Reshape", "Resize", "ScatterElements", "ScatterND"), NEW
    ),
    **{f"Reduce{name}": NEW for name in REDUCTIONS},
    "GroupNormalization": "it meant something else there",
    "Dropout": "conversion of opset .* changes what the model computes: m is bool",
    "Scan": "has a batch axis before opset 9",
    "RoiAlign": "its coordinate_transformation_mode cannot be half_pixel there",
    **dict.fromkeys(("DFT", "DeformConv", "GridSample"), ABSENT),
    **dict.fromkeys(("Optional", "OptionalGetElement", "OptionalHasElement"), ABSENT),
}
"""Conversions that are refused, by operator, and what the refusal says."""


def build(form: Form, opset: int) -> onnx.ModelProto:
    text = f"g ({form.inputs}) => ({form.outputs}) {{ {form.node} }}"
    proto = parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}]> {text}')
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(array), name) for name, array in form.weights.items()
    )
    return proto


@cache
def newest() -> int:
    """The newest opset that both the installed onnx and the installed onnxruntime know."""
    for opset in range(onnx.defs.onnx_opset_version(), OLDEST, -1):
        try:
            Session(build(Form("Abs", 1, "y = Abs (x)"), opset).SerializeToString())
        except ModelError:
            continue
        return opset
    raise AssertionError


def starts(form: Form) -> list[int]:
    """Opsets in which the operator is written in this form: each that changed it, up to the next form."""
    later = [other.since for other in FORMS if other.operator == form.operator and other.since > form.since]
    end = min([*later, newest() + 1])
    opsets = CHANGES[form.operator]
    first = opsets[max(bisect_right(opsets, max(form.since, OLDEST)) - 1, 0)]
    return sorted(
        {max(first, form.since, OLDEST), *(v for v in opsets if max(form.since, OLDEST) <= v < end)}
    )


def targets(operator: str, opset: int) -> list[int]:
    """The next opset that changed the operator, the newest, and the one before the last change."""
    above = [v for v in CHANGES[operator] if opset < v <= newest()]
    below = [v - 1 for v in CHANGES[operator] if LOWEST <= v - 1 < opset]
    return sorted({*above[:1], *below[-1:], newest()} - {opset})


@pytest.mark.parametrize("operator", sorted(CHANGES))
def test_every_operator_survives_every_change_of_the_opset(operator: str, isolated: Isolated) -> None:
    forms = [form for form in FORMS if form.operator == operator]
    assert forms, "a new operator needs a line in the table"
    said = []
    for form in forms:
        for opset in starts(form):
            proto = build(form, opset)
            model = load_model(proto)
            original = Original.of(model, proto, isolated, unchecked=False)
            if not original.trials:
                assert operator in WITHOUT_KERNEL
                continue
            for target in targets(operator, opset):
                try:
                    result = prepare_proved(
                        original,
                        lambda steps, _, model=model, target=target: prepare(
                            model, opset=target, skip_slim=True, steps=steps
                        ),
                    )
                except ModelError as error:
                    said.append(f"{opset} to {target}: {error.what}")
                    continue
                trial = original.trials[0]
                outputs = Session(result, trial.names).run(trial.feeds)
                for reference, output in zip(trial.outputs, outputs, strict=True):
                    distance, words = disagreement(reference, output)
                    assert distance < 1e-4, (form, opset, target, words)
    reasons = [REFUSED[operator]] if operator in REFUSED else []
    reasons += ["Could not find an implementation"] if operator in WITHOUT_KERNEL else []
    assert all(any(re.search(reason, text) for reason in reasons) for text in said), said


OUTPUTS = {
    "a large constant": ("float[64,64] c", "c = Mul (p, k)"),
    "a Constant node": ("float[1] c", "c = Constant <value = float[1] {2.0}> ()"),
    "a sequence": ("seq(float[1,32]) c", "c = SequenceConstruct (h, r)"),
    "a string": ("string[1] c", 'c = Constant <value_strings = ["a"]> ()'),
    "a computed string": ("string[1] c", "c = Cast <to = 8> (k)"),
    "an optional": ("optional(float[1,32]) c", "c = Optional (h)"),
    "an input": ("float[1,32] x", ""),
    "a weight": ("float[32,32] w", ""),
    "nothing": ("float[0,2] c", "c = Slice (p, zero, zero, zero)"),
}
WEIGHTS = {
    "w": draw(32, 32),
    "v": draw(32, 8),
    "p": draw(64, 64),
    "k": np.array([2], np.float32),
    "zero": np.array([0]),
}


def with_output(declaration: str, node: str) -> onnx.ModelProto:
    body = f"h = MatMul (x, w) r = Relu (h) y = MatMul (r, v) {node}"
    return build(Form("", 18, body, "float[1,32] x", f"float[1,8] y, {declaration}", WEIGHTS), 18)


@pytest.mark.parametrize("kind", OUTPUTS)
@pytest.mark.parametrize("level", [0, 3, 4, 100])
def test_an_output_of_any_kind_is_kept(kind: str, level: int, tmp_path: Path) -> None:
    proto = with_output(*OUTPUTS[kind])
    config = {"quantization_parameters": {"precision_level": level}}
    if level == 0:
        for index in range(10):
            np.save(tmp_path / f"{index}.npy", draw(1, 32, seed=index))
        listing = tmp_path / "list.txt"
        listing.write_text("".join(f"{index}.npy\n" for index in range(10)))
        entry = {"file_type": "npy", "data_list_path": str(listing)}
        config["calibration_parameters"] = {"input_parameters": [entry], "calibration_step": 10}
    result = xslim.quantize_onnx_model(config, proto, tmp_path / "out.onnx")
    assert [value.name for value in result.graph.output] == [value.name for value in proto.graph.output]
    x = {"x": draw(1, 32)}
    (before, kept), (after, found) = (Session(m.SerializeToString()).run(x) for m in (proto, result))
    assert disagreement(before, after)[0] < 0.2
    assert disagreement(kept, found)[0] < 0.05


@pytest.mark.parametrize("level", [3, 4, 100])
def test_a_model_that_onnxruntime_cannot_load_needs_no_loadable_result(level: int, tmp_path: Path) -> None:
    body = "a = Cast <to = 16> (x) b = MatMul (a, a) c = Cast <to = 1> (b) y = MatMul (c, w)"
    proto = build(Form("", 18, body, "float[32,32] x", "float[32,32] y", {"w": WEIGHTS["w"]}), 18)
    config = {"quantization_parameters": {"precision_level": level}}
    result = xslim.quantize_onnx_model(config, proto, tmp_path / "out.onnx")
    assert [node.op_type for node in result.graph.node].count("Cast") >= 2


def reshaped(declared: list[int | str]) -> onnx.ModelProto:
    """A model whose output has three dimensions, whatever it declares."""
    sizes = "s = Shape (x) n = Gather (s, zero) t = Concat <axis = 0> (n, one, rest)"
    nodes = f"a = MatMul (x, w) {sizes} y = Reshape (a, t)"
    weights = {"w": draw(16, 8), "zero": np.array([0]), "one": np.array([1]), "rest": np.array([-1])}
    proto = build(Form("", 13, nodes, "float[n,16] x", "float[] y", weights), 13)
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, declared))
    return proto


@pytest.mark.parametrize("declared", [[1, "n"], [7], [3, 1, 8], ["n", 1, 8], [2, 2, 2, 2]], ids=str)
def test_a_declared_shape_is_not_believed(declared: list[int | str], tmp_path: Path) -> None:
    proto = reshaped(declared)
    result = xslim.slim(proto, tmp_path / "out.onnx")
    x = {"x": draw(5, 16)}
    before, after = (Session(m.SerializeToString()).run(x)[0] for m in (proto, result))
    np.testing.assert_allclose(after, before, rtol=1e-5)
    shape = result.graph.output[0].type.tensor_type.shape.dim
    assert len(shape) == 3
    assert all(dim.dim_value in (0, size) for dim, size in zip(shape, (5, 1, 8), strict=True))


def wrong_relu(model: ir.Model, *_: object) -> ir.Model:
    """A faulty onnxslim: every Relu becomes Abs."""
    for node in model.graph:
        node.op_type = "Abs" if node.op_type == "Relu" else node.op_type
    return model


def wrong_conversion(model: ir.Model, target: int, _reason: str) -> ir.Model:
    model = wrong_relu(model.clone())
    model.opset_imports[""] = target
    return model


RELU = Form(
    "", 13, "h = MatMul (x, w) r = Relu (h) y = Neg (r)", "float[2,8] x", "float[2,8] y", {"w": draw(8, 8)}
)


def test_a_step_that_changes_results_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(preparation, "convert_opset", wrong_conversion)
    proto, target = build(RELU, 13), tmp_path / "out.onnx"
    with pytest.raises(
        ModelError, match="conversion of opset 13 to 17 changes what the model computes: r differs"
    ):
        xslim.slim(proto, target, opset=17)
    assert not target.exists()
    config = {
        "model_parameters": {"opset": 17, "unchecked": True},
        "quantization_parameters": {"precision_level": 100},
    }
    xslim.quantize_onnx_model(config, proto, target)
    assert target.exists()


def test_a_wrong_rewrite_is_our_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(preparation, "slices_to_split", wrong_relu)
    with pytest.raises(InternalError, match="changes what the model computes: r differs"):
        xslim.slim(build(RELU, 13), tmp_path / "out.onnx")
    assert not list(tmp_path.iterdir())


def test_onnxslim_is_left_out_where_it_is_wrong(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(preparation, "run_onnxslim", wrong_relu)
    result = xslim.slim(build(RELU, 13), tmp_path / "out.onnx")
    assert "onnxslim changed the model's results and was left out: r differs" in caplog.text
    assert [node.op_type for node in result.graph.node] == ["MatMul", "Relu", "Neg"]


def test_a_model_that_is_read_wrongly_is_our_fault(isolated: Isolated, tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    onnx.save(build(RELU, 13), file)
    read = wrong_relu(load_model(file))
    original = Original.of(read, file, isolated, unchecked=False)
    with pytest.raises(InternalError, match="reading the model changes what the model computes"):
        prepare_proved(original, lambda steps, _: prepare(read, steps=steps))


CHAOTIC = {
    "a fast wave": "c = Mul (h, big) y = Sin (c)",
    "a choice": "c = Mul (h, big) d = Sin (c) v, i = TopK <axis = 1> (d, three) y = Cast <to = 1> (i)",
    "rounding": "c = Mul (h, big) y = Round (c)",
    "chance": "r = RandomNormalLike (h) y = Add (h, r)",
}


@pytest.mark.parametrize("kind", CHAOTIC)
def test_rounding_and_chance_are_no_faults(kind: str, tmp_path: Path) -> None:
    weights = {"w": draw(64, 64), "s": draw(64), "big": np.float32(1e4), "three": np.array([3])}
    nodes = f"g = MatMul (x, w) h = Mul (g, s) {CHAOTIC[kind]}"
    xslim.slim(build(Form("", 13, nodes, "float[8,64] x", "float[] y", weights), 13), tmp_path / "out.onnx")


BROKEN = {
    "group 0": "y = Conv <group = 0> (x, w)",
    "huge pads": "y = Conv <pads = [1099511627776, 1099511627776, 0, 0]> (x, w)",
    "wrong channels": "y = Conv (x, v)",
    "wrong rank": "y = Conv (x, u)",
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("command", ["slim", "--dynq", "check"])
def test_a_float_model_that_does_not_run_is_refused(
    kind: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = {"w": draw(4, 3, 3, 3), "v": draw(4, 5, 3, 3), "u": draw(4, 3, 3)}
    proto = build(Form("", 13, BROKEN[kind], "float[1,3,8,8] x", "float[] y", weights), 13)
    model, target = tmp_path / "model.onnx", tmp_path / "out.onnx"
    onnx.save(proto, model)
    options = ["check", str(model)] if command == "check" else ["-i", str(model), "-o", str(target)]
    status = main([*options, *([command] if command.startswith("--") else [])])
    assert status == 2
    assert "the float model does not run in onnxruntime" in capsys.readouterr().err
    assert not target.exists()
