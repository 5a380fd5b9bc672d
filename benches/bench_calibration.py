"""Benchmark calibration and whole runs, on the quick-start model and, if ../shared exists, on real models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xslim
from benches.paths import QUICKSTART, real_model
from xslim.calibration.collectors import SketchCollector
from xslim.calibration.runner import stream
from xslim.graph.inputs import input_specs
from xslim.graph.io import load_model, to_proto
from xslim.kernels import Sketch
from xslim.passes import prepare
from xslim.quantization.plan import make_plan
from xslim.quantization.rules import OperatorSettings, Rules
from xslim.runtime import Session
from xslim.targets import load_target

MODELS = {"quickstart": (), "resnet20_cifar10": (3, 32, 32), "squeezenet1.1": (3, 224, 224)}
SAMPLES = 20


def prepared(name: str) -> Any:
    path = QUICKSTART / "digits.onnx" if name == "quickstart" else real_model(name)
    if path is None:
        pytest.skip("../shared is not there")
    return prepare(load_model(path))


def feeds_of(model: Any) -> list[dict[str, Any]]:
    generator = np.random.default_rng(0)
    (spec,) = input_specs(model)
    shape = [size or 1 for size in spec.shape or ()]
    return [{spec.name: generator.standard_normal(shape).astype(np.float32)} for _ in range(SAMPLES)]


@pytest.mark.benchmark(group="calibration pass, 20 samples")
@pytest.mark.parametrize("name", MODELS)
def test_observed_run(benchmark: Any, name: str) -> None:
    model = prepared(name)
    feeds = feeds_of(model)
    plan = make_plan(model, load_target(), Rules(OperatorSettings(0)))
    benchmark(lambda: stream(model, [SketchCollector({t: Sketch() for t in plan.observed})], feeds))


@pytest.mark.benchmark(group="calibration pass, 20 samples")
@pytest.mark.parametrize("name", MODELS)
def test_bare_float_run(benchmark: Any, name: str) -> None:
    model = prepared(name)
    feeds = feeds_of(model)
    source = to_proto(model).SerializeToString()

    def run() -> None:
        session = Session(source)
        for item in feeds:
            session.run(item)

    benchmark(run)


@pytest.mark.benchmark(group="whole run")
@pytest.mark.parametrize("finetune_level", [0, 1])
def test_whole_run_of_the_quick_start(benchmark: Any, tmp_path: Path, finetune_level: int) -> None:
    def run() -> None:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        config = {
            "model_parameters": {"onnx_model": str(QUICKSTART / "digits.onnx"), "working_dir": str(folder)},
            "calibration_parameters": {
                "input_parameters": [{"data_list_path": str(QUICKSTART / "calibration" / "list.txt")}]
            },
            "quantization_parameters": {"finetune_level": finetune_level, "analysis_enable": False},
        }
        xslim.quantize_onnx_model(config)

    benchmark.pedantic(run, rounds=3)
