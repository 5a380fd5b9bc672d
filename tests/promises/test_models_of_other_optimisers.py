"""README: every model is converted. Models that onnxruntime's optimiser wrote are like all others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import xslim
from tests.export.running import sqnr_db
from tests.foreign import CASES, KEPT, MICROSOFT, Case
from tests.models import save
from xslim.runtime import Session

LEAST_SQNR = {"dynamic": 25, "fp16": 45, "slim": 90, "static": 25}
LEVELS = {"dynamic": 3, "fp16": 4, "slim": 100, "static": 0}


def convert(case: Case, run: str, folder: Path) -> onnx.ModelProto:
    config: dict[str, Any] = {"quantization_parameters": {"precision_level": LEVELS[run]}}
    if run == "static":
        files = [folder / f"{seed}.npy" for seed in range(4)]
        for seed, file in enumerate(files):
            np.save(file, case.feeds(seed)["x"])
        listing = folder / "list.txt"
        listing.write_text("".join(f"{file}\n" for file in files), "utf-8")
        entry = {"input_name": "x", "file_type": "npy", "data_list_path": str(listing)}
        config["calibration_parameters"] = {"input_parameters": [entry]}
        config["quantization_parameters"] |= {"finetune_level": 0, "analysis_enable": False}
    model = save(case.model(), folder / "in.onnx")
    return xslim.quantize_onnx_model(config, model, folder / "out.onnx")


def assert_close(found: onnx.ModelProto, case: Case, run: str) -> None:
    expected, given = (
        Session(proto.SerializeToString(), threads=1).run(case.feeds(9))[0] for proto in (case.model(), found)
    )
    assert sqnr_db(expected, given) > LEAST_SQNR[run]


def typed(proto: onnx.ModelProto) -> ir.Model:
    """The model with what onnxruntime knows of its values."""
    model = ir.from_proto(proto)
    names = {value.name: value for node in model.graph for value in node.outputs}
    shown = onnx.ModelProto.FromString(proto.SerializeToString())
    shown.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name)
        for name in names
        if name not in {output.name for output in proto.graph.output}
    )
    for name, kind, _ in Session(shown.SerializeToString(), lean=True).described:
        names[name].dtype = ir.DataType[kind.removeprefix("tensor(").removesuffix(")").upper()]
    return model


REPLACED = ["BiasGelu", "SkipLayerNormalization", "FusedMatMul of scores", "FusedConv with bounds"]
FOR_EVERY_RUN = ["SkipLayerNormalization with its sum", "FusedConv with a sum", "Attention with a mask"]


@pytest.mark.parametrize("run", ["slim", "dynamic", "static"])
@pytest.mark.parametrize("name", FOR_EVERY_RUN)
def test_every_run_takes_them(name: str, run: str, tmp_path: Path) -> None:
    case = CASES[name]
    found = convert(case, run, tmp_path)
    assert_close(found, case, run)
    if run == "static":
        last = next(node for node in found.graph.node if node.name == "behind")
        makers = {output: node.op_type for node in found.graph.node for output in node.output}
        assert {makers[name] for name in last.input} == {"DequantizeLinear"}


@pytest.mark.parametrize("name", [*KEPT, *REPLACED])
def test_float16_reaches_them(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    found = convert(case, "fp16", tmp_path)
    assert_close(found, case, "fp16")
    model = typed(found)
    first, last = (next(node for node in model.graph if node.name == end) for end in ("before", "behind"))
    assert first.outputs[0].dtype == last.inputs[0].dtype == ir.DataType.FLOAT16
    if name in KEPT and name != "Inverse":
        (node,) = (node for node in model.graph if node.domain == MICROSOFT)
        floats = {
            value.dtype for value in node.inputs if value and value.dtype and value.dtype.is_floating_point()
        }
        assert floats == {ir.DataType.FLOAT16}
