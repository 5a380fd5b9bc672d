"""The result does not depend on how the work is divided: batches, threads, parts of the samples."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from tests import models
from tests.promises.static_runs import configuration
from xslim import quantize_onnx_model
from xslim.calibration.data import CalibrationData
from xslim.commands.collect import collect_shard
from xslim.config import load_config
from xslim.graph.inputs import input_specs
from xslim.graph.io import load_model, to_proto
from xslim.kernels import set_threads, threads
from xslim.pipeline.run import quantize
from xslim.refinement.judge import split

Array = NDArray[Any]

IMAGE = (1, 3, 8, 8)
NETS: dict[str, tuple[Callable[[], onnx.ModelProto], tuple[int, ...]]] = {
    "convolutions": (lambda: models.conv_net("batch"), IMAGE),
    "depthwise": (lambda: models.depthwise_net("batch"), IMAGE),
    "products": (lambda: models.mlp("batch"), (1, 16)),
    "fixed batch": (lambda: models.mlp(2), (1, 16)),
}


def samples(shape: tuple[int, ...], count: int) -> list[dict[str, Array]]:
    random = np.random.default_rng(7)
    # Sizes differ, so that it matters which of them are fitted and which of them judge.
    return [
        {"x": (random.uniform(0.2, 3) * random.standard_normal(shape)).astype(np.float32)}
        for _ in range(count)
    ]


def bytes_of(name: str, folder: Path, count: int, level: int, **calibration: int) -> bytes:
    folder.mkdir(parents=True, exist_ok=True)
    make, shape = NETS[name]
    config = configuration(folder, samples(shape, count), finetune_level=level)
    config["calibration_parameters"] |= calibration
    return quantize_onnx_model(config, make(), folder / "result.onnx").SerializeToString()


@pytest.mark.parametrize(
    ("name", "count", "level"),
    [
        ("convolutions", 2, 1),
        ("convolutions", 18, 1),
        ("convolutions", 70, 1),
        ("depthwise", 17, 3),
        ("products", 5, 2),
        ("products", 18, 0),
        ("fixed batch", 19, 1),
    ],
)
def test_any_batch_size(name: str, count: int, level: int, tmp_path: Path) -> None:
    found = {
        size: bytes_of(name, tmp_path / str(size), count, level, calibration_batch_size=size)
        for size in (1, 3, 8)
    }
    assert found[1] == found[3] == found[8]


@pytest.mark.parametrize("name", NETS)
def test_any_number_of_threads(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, found = threads(), {}
    try:
        for count in (1, 2):
            monkeypatch.setenv("XSLIM_THREADS", str(count))
            set_threads(count)
            found[count] = bytes_of(name, tmp_path / str(count), 10, 1)
    finally:
        set_threads(before)
    assert found[1] == found[2]


@pytest.mark.parametrize(("count", "batch_size"), [(2, 1), (3, 4)])
def test_any_parts(count: int, batch_size: int, tmp_path: Path) -> None:
    make, shape = NETS["depthwise"]
    onnx.save(make(), tmp_path / "model.onnx")
    config = configuration(tmp_path, samples(shape, 14), finetune_level=1)
    config["model_parameters"] = {
        "onnx_model": str(tmp_path / "model.onnx"),
        "working_dir": str(tmp_path / "out"),
    }
    whole = to_proto(quantize(config)).SerializeToString()
    config["calibration_parameters"]["calibration_batch_size"] = batch_size
    parts = [collect_shard(config, (index, count), tmp_path / f"{index}.part") for index in range(count)]
    assert to_proto(quantize(config, sketch_files=parts)).SerializeToString() == whole


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("count", [2, 3, 4, 9, 40])
def test_what_judges_is_never_fitted(size: int, count: int, tmp_path: Path) -> None:
    """A shard of samples, at any batch size, holds exactly those whose numbers the split names."""
    config = configuration(tmp_path, samples(IMAGE, count))
    parameters = load_config(
        {"model_parameters": {"onnx_model": "unused.onnx"}, **json.loads(json.dumps(config))}
    )
    data = CalibrationData(
        input_specs(load_model(models.conv_net("batch"))), parameters.calibration_parameters
    )
    every = [feeds["x"].tobytes() for feeds in data.samples(size)]
    assert len(set(every)) == data.runs == len(data) == count
    chosen = split(data.runs, 192, 10)
    [shard] = chosen.shards
    judges = [feeds["x"].tobytes() for feeds in data.samples(size, shard=shard)]
    assert judges == [sample for number, sample in enumerate(every) if chosen.holds_back(number)]
    assert 1 <= len(judges) <= max(1, count // 4)
