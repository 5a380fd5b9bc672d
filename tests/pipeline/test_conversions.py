"""Tests of precision levels 3, 4 and 100 through the public functions, settings and files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

import xslim
from tests.export.running import draw, run, sqnr_db
from tests.models import conv_net, mlp, model, quantised_net, residual_net, save, token_net
from xslim.cli import main
from xslim.errors import ConfigError, InternalError, ModelError

LEVELS = {"dynamic": 3, "fp16": 4, "slim": 100}
DIRECT = {"dynamic": xslim.quantize_dynamic, "fp16": xslim.convert_fp16, "slim": xslim.slim}
LEAST_SQNR = {"dynamic": 25, "fp16": 55, "slim": 100}


def convert(level: str, source: Any, folder: Path, **settings: Any) -> onnx.ModelProto:
    config = {"quantization_parameters": {"precision_level": LEVELS[level], **settings}}
    return xslim.quantize_onnx_model(config, source, folder / "out.onnx")


def feeds_for(proto: onnx.ModelProto) -> Mapping[str, Any]:
    shape = [dim.dim_value or 1 for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    return {proto.graph.input[0].name: draw(7, *shape)}


def types_of(proto: onnx.ModelProto, op_type: str) -> set[int]:
    """Element types of the initializers that operators of a type read."""
    stored = {tensor.name: tensor.data_type for tensor in proto.graph.initializer}
    return {
        stored[name]
        for node in proto.graph.node
        if node.op_type == op_type
        for name in node.input
        if name in stored and stored[name] in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
    }


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "proto", [conv_net(channels=16), mlp(width=64), residual_net()], ids=["conv", "mlp", "res"]
)
def test_the_result_is_close_and_the_same_from_memory_and_from_a_file(
    level: str, proto: onnx.ModelProto, tmp_path: Path
) -> None:
    result = convert(level, proto, tmp_path)
    from_file = DIRECT[level](save(proto, tmp_path / "in.onnx"))
    assert result.SerializeToString(deterministic=True) == from_file.SerializeToString(deterministic=True)
    assert onnx.load(tmp_path / "out.onnx") == result
    expected, found = (run(item, feeds_for(proto))[0] for item in (proto, result))
    assert np.array_equal(expected, found) or sqnr_db(expected, found) > LEAST_SQNR[level]


@pytest.mark.parametrize("level", LEVELS)
def test_symbolic_whole_number_inputs(level: str, tmp_path: Path) -> None:
    proto = token_net()
    result = convert(level, proto, tmp_path)
    assert [str(value.type) for value in result.graph.input] == [
        str(value.type) for value in proto.graph.input
    ]
    assert (tmp_path / "out.onnx").is_file()


@pytest.mark.parametrize("level", ["dynamic", "fp16"])
def test_ignored_types_and_names_stay_float(level: str, tmp_path: Path) -> None:
    proto = conv_net(channels=16)
    result = convert(level, proto, tmp_path, ignore_op_types=["Ge*"], ignore_op_names=["conv2"])
    names = {node.name: node for node in result.graph.node}
    stored = {tensor.name: tensor.data_type for tensor in result.graph.initializer}
    for name in ("fc", "conv2"):
        assert stored[names[name].input[1]] == onnx.TensorProto.FLOAT
    assert stored.get(names["conv1"].input[1]) != onnx.TensorProto.FLOAT


@pytest.mark.parametrize("level", ["dynamic", "fp16"])
def test_a_region_of_another_level_stays_float(level: str, tmp_path: Path) -> None:
    region = {"input_names": ["p1"], "output_names": ["r2"], "precision_level": 0}
    result = convert(level, conv_net(channels=16), tmp_path, custom_setting=[region])
    stored = {tensor.name: tensor.data_type for tensor in result.graph.initializer}
    weights = {node.name: node.input[1] for node in result.graph.node if node.op_type == "Conv"}
    assert stored[weights["conv2"]] == onnx.TensorProto.FLOAT
    assert stored.get(weights["conv1"]) != onnx.TensorProto.FLOAT


@pytest.mark.parametrize("level", ["dynamic", "fp16"])
def test_what_lies_behind_a_cut_stays_float(level: str, tmp_path: Path) -> None:
    proto = conv_net(channels=16)
    result = convert(level, proto, tmp_path, truncate_var_names=["p1"])
    assert types_of(result, "Gemm") == {onnx.TensorProto.FLOAT}
    first = next(node for node in result.graph.node if node.name == "conv1")
    stored = {tensor.name: tensor.data_type for tensor in result.graph.initializer}
    assert stored.get(first.input[1]) != onnx.TensorProto.FLOAT
    expected, found = (run(item, feeds_for(proto))[0] for item in (proto, result))
    assert sqnr_db(expected, found) > LEAST_SQNR[level]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"truncate_var_names": ["p2"]}, "p2"),
        ({"custom_setting": [{"input_names": ["x"], "output_names": ["zz"], "precision_level": 0}]}, "zz"),
    ],
    ids=["cut", "region"],
)
def test_unknown_tensors_are_refused_and_nothing_is_written(
    settings: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, ModelError), match=words):
        convert("fp16", conv_net(), tmp_path, **settings)
    assert not list(tmp_path.iterdir())


def test_fp16_keep_types(tmp_path: Path) -> None:
    result = convert("fp16", conv_net(), tmp_path, fp16_keep_types=["Conv"])
    assert types_of(result, "Conv") == {onnx.TensorProto.FLOAT}
    assert types_of(result, "Gemm") == {onnx.TensorProto.FLOAT16}
    assert types_of(xslim.convert_fp16(conv_net(), keep_types=["Gemm"]), "Gemm") == {onnx.TensorProto.FLOAT}


def overflowing() -> onnx.ModelProto:
    """The square of 300 times the input: beyond 65,504 in between, although every constant fits."""
    nodes = [
        helper.make_node("Mul", ["x", "k"], ["a"], name="scale"),
        helper.make_node("Mul", ["a", "a"], ["b"], name="square"),
        helper.make_node("ReduceMean", ["b"], ["m"], name="mean", axes=[1]),
        helper.make_node("Sqrt", ["m"], ["r"], name="root"),
        helper.make_node("Div", ["x", "r"], ["y"], name="div"),
    ]
    weights = {"k": np.full(8, 300, np.float32) + np.arange(8, dtype=np.float32)}
    return model(nodes, {"x": [2, 8]}, {"y": [2, 8]}, weights)


def test_overflow_on_the_trial_run_is_found_and_avoided(tmp_path: Path) -> None:
    proto = overflowing()
    result = convert("fp16", proto, tmp_path)
    expected, found = (run(item, feeds_for(proto))[0] for item in (proto, result))
    assert sqnr_db(expected, found) > 55


def test_calibration_data_show_what_exceeds_half(tmp_path: Path) -> None:
    """The trial run sees nothing: only the data are large."""
    node = helper.make_node("Mul", ["x", "x"], ["s"], name="square")
    root = helper.make_node("Sqrt", ["s"], ["y"], name="root")
    proto = model([node, root], {"x": [1, 8]}, {"y": [1, 8]})
    samples = []
    for index in range(10):
        np.save(tmp_path / f"{index}.npy", draw(index, 1, 8) * 1000)
        samples.append(f"{index}.npy")
    (tmp_path / "list.txt").write_text("\n".join(samples))
    config = {
        "calibration_parameters": {
            "calibration_step": 10,
            "input_parametres": [{"file_type": "npy", "data_list_path": str(tmp_path / "list.txt")}],
        },
        "quantization_parameters": {"precision_level": 4},
    }
    blind, seeing = (
        xslim.convert_fp16(proto),
        xslim.quantize_onnx_model(config, proto, tmp_path / "out.onnx"),
    )
    # Both operators touch the square: without data they are float16 between two casts, with them float32.
    assert [node.op_type for node in blind.graph.node] == ["Cast", "Mul", "Sqrt", "Cast"]
    assert [node.op_type for node in seeing.graph.node] == ["Mul", "Sqrt"]


def test_quantised_models_are_slimmed_and_otherwise_refused(tmp_path: Path) -> None:
    proto = quantised_net()
    assert convert("slim", proto, tmp_path).graph.node
    for level in ("dynamic", "fp16"):
        with pytest.raises(ModelError, match="quantised already"):
            convert(level, proto, tmp_path)


def test_slim_prints_operators_before_and_after(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="xslim"):
        convert("slim", conv_net(), tmp_path)
    table = next(text for text in caplog.messages if text.startswith("operators before and after"))
    rows = {line.split("  ")[0]: line.split()[-2:] for line in table.splitlines()[1:]}
    assert rows["Conv"] == ["2", "2"]
    # conv1: 8 x 64 x 3 x 9, conv2 after the pool: 16 x 16 x 8 x 9, fc: 16 x 10.
    macs = 8 * 64 * 3 * 9 + 16 * 16 * 8 * 9 + 16 * 10
    assert rows["MACs"] == [f"{macs:,}"] * 2
    assert rows["parameters"] == [f"{8 * 27 + 8 + 16 * 72 + 16 + 160 + 10:,}"] * 2


def test_the_opset_is_kept_or_the_one_asked_for() -> None:
    for convert_model in DIRECT.values():
        assert convert_model(conv_net()).opset_import[0].version == 17
        assert convert_model(conv_net(), opset=19).opset_import[0].version == 19


def test_a_result_that_fails_its_check_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise InternalError("it does not run")

    monkeypatch.setattr("xslim.pipeline.finish.prove", fail)
    with pytest.raises(InternalError):
        convert("dynamic", conv_net(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_name_that_fits_nothing_is_mentioned(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    convert("fp16", conv_net(), tmp_path, ignore_op_names=["conf1"])
    assert any("'conf1', did you mean 'conv1'?" in text for text in caplog.messages)


def test_an_opset_without_scales_per_channel_is_refused_for_dynamic_int8() -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="conv")]
    proto = model(nodes, {"x": [1, 16, 8, 8]}, {"y": [1, 16, 6, 6]}, {"w": draw(1, 16, 16, 3, 3)}, opset=11)
    with pytest.raises(ConfigError, match="opset 13"):
        xslim.quantize_dynamic(proto, opset=11)
    assert xslim.quantize_dynamic(proto).opset_import[0].version == 13
    assert xslim.convert_fp16(proto, opset=11).opset_import[0].version == 11


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_form_has_a_line_of_its_own(
    language: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(conv_net(channels=64), tmp_path / "in.onnx")
    options = ["--dynq", "--lang", language]
    assert main(["-i", str(path), "-o", str(tmp_path / "out.onnx"), *options]) == 0
    lines = capsys.readouterr().err.splitlines()
    expected = {
        "en": [
            "dynamic int8: converted 2 of 3 operators",
            "written as int8 weights, float arithmetic: 2 Conv",
        ],
        "zh": ["dynamic int8：已转换 3 个算子中的 2 个", "写为 int8 权重加浮点运算：2 Conv"],
    }
    assert [line for line in lines if line in expected[language]] == expected[language]
    assert "\\n" not in "".join(lines)
