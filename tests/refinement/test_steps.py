"""Refinement keeps steps that gain, undoes steps that lose, and higher levels are not worse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from tests import models
from xslim.config import load_config
from xslim.export.qdq import export_qdq
from xslim.graph.io import to_proto
from xslim.kernels import ErrorMetrics, Sketch
from xslim.passes import prepare
from xslim.pipeline.calibrate import calibration_settings, start_static
from xslim.pipeline.static import StaticResult, quantize_static
from xslim.quantization.parameters import params_of_range
from xslim.refinement.effort import EFFORT
from xslim.refinement.judge import Judge, Split, split
from xslim.refinement.range_search import Trials, least_scale, search_ranges
from xslim.runtime import Session
from xslim.targets import load_target

SHAPE = (1, 3, 8, 8)


def uneven_model() -> ir.Model:
    """Depthwise network whose channels and weights differ by two orders of magnitude."""
    proto = models.depthwise_net()
    for tensor in proto.graph.initializer:
        array = np.array(onnx_array(tensor))
        if array.ndim == 4:
            sizes = 10.0 ** np.random.default_rng(array.shape[0]).uniform(-1, 1, (array.shape[0], 1, 1, 1))
            tensor.CopyFrom(onnx_tensor((array * sizes).astype(np.float32), tensor.name))
    return prepare(ir.from_proto(proto), skip_slim=True)


def onnx_array(tensor: Any) -> NDArray[Any]:
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor)


def onnx_tensor(array: NDArray[Any], name: str) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(array, name)


def config(folder: Path, count: int = 24, **quantization: Any) -> Any:
    listing = models.write_samples(folder / "data", SHAPE, count)
    return load_config(
        {
            "model_parameters": {"onnx_model": "unused.onnx"},
            "calibration_parameters": {
                "calibration_device": "cpu",
                "input_parameters": [{"file_type": "npy", "data_list_path": str(listing)}],
            },
            "quantization_parameters": {"analysis_enable": False, **quantization},
        }
    )


def quantized(folder: Path, level: int) -> StaticResult:
    return quantize_static(uneven_model(), config(folder, finetune_level=level), folder / "store")


def fresh_sqnr(result: StaticResult, model: ir.Model | None = None) -> float:
    """Outputs on samples that the run has not seen; by default those of the uneven model."""
    expected = Session(to_proto(model or uneven_model()).SerializeToString())
    found = Session(to_proto(result.model).SerializeToString(), qdq_as_written=True)
    total = ErrorMetrics()
    for seed in range(20):
        x = np.random.default_rng(1000 + seed).standard_normal(SHAPE).astype(np.float32)
        total.update(expected.run({"x": x})[0], found.run({"x": x})[0])
    return total.sqnr_db


def test_level_one_gains_on_fresh_samples(tmp_path: Path) -> None:
    plain, refined = quantized(tmp_path / "0", 0), quantized(tmp_path / "1", 1)
    assert fresh_sqnr(refined) > fresh_sqnr(plain) + 0.3
    assert plain.gains == ()
    steps = [gain.step for gain in refined.gains if gain.kept]
    assert "second-order rounding" in steps


@pytest.mark.parametrize("level", [2, 3])
def test_higher_levels_do_not_lose(tmp_path: Path, level: int) -> None:
    lower, higher = quantized(tmp_path / "1", 1), quantized(tmp_path / "n", level)
    assert higher.gains[-1].step == "reconstruction of ranges"
    assert fresh_sqnr(higher) > fresh_sqnr(lower) - 0.5


def test_only_what_gains_is_kept(tmp_path: Path) -> None:
    certainty = {"factors": -1, "second-order": -1, "bias": -1, "biases": 1}
    for gain in quantized(tmp_path, 3).gains:
        needed = certainty.get(gain.step.split()[0], 2)
        if needed > 0:
            assert gain.kept == (gain.gain >= max(0.2, needed * gain.deviation))
        elif gain.kept:
            assert gain.gain >= -1.0 - gain.deviation


def test_the_float_model_is_only_rescaled(tmp_path: Path) -> None:
    result = quantized(tmp_path, 1)
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    expected = Session(to_proto(uneven_model()).SerializeToString()).run({"x": x})[0]
    found = Session(to_proto(result.reference).SerializeToString()).run({"x": x})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * float(np.abs(expected).max()))


@pytest.mark.parametrize(
    ("batches", "inputs", "outputs", "level", "expected"),
    [
        (1, 10, 10, 1, 0),
        (2, 10, 10, 1, 1),
        (3, 10, 10, 1, 1),
        (4, 10, 10, 1, 1),
        (100, 3072, 10, 1, 25),
        (100, 3072, 1000, 1, 7),
        (100, 150_528, 10, 1, 5),
        (100, 150_528, 10, 2, 25),
        (100, 384, 384 * 128, 1, 7),
        (100, 384, 384 * 128, 2, 25),
        (8, 10**7, 10, 3, 2),
    ],
)
def test_batches_are_held_back_where_there_are_enough(
    batches: int, inputs: int, outputs: int, level: int, expected: int
) -> None:
    chosen = split(batches, inputs, outputs, EFFORT[level])
    held = [number for number in range(batches) if chosen.holds_back(number)]
    assert len(held) == expected
    if held:
        [(index, count)] = chosen.shards
        assert held == list(range(index, batches, count))


@pytest.mark.parametrize("stride", [None, 2, 4, 7, 8, 9, 13, 16, 53, 100])
def test_the_reserve_holds_other_samples(stride: int | None) -> None:
    chosen = Split(stride)
    reserve = chosen.reserve()
    if stride is None or stride < 8:
        assert reserve is None
        return
    assert reserve is not None
    first, second = (
        {number for number in range(1000) if part.holds_back(number)} for part in (chosen, reserve)
    )
    assert 1.5 * len(first) < len(second) <= 251
    assert not first & second
    shards = {number for index, count in reserve.shards for number in range(index, 1000, count)}
    assert shards == second
    # Samples for fits are often every n-th one from the first on.
    assert 0 not in second


def test_a_range_that_clips_too_much_is_widened(tmp_path: Path) -> None:
    settings = config(tmp_path, finetune_level=0)
    result = quantize_static(uneven_model(), settings, tmp_path / "store")
    start = start_static(uneven_model(), settings)
    group = next(group for group in result.plan.groups if group.fixed_range is None and group.clamp is None)
    narrow = dict(result.quantization.activations)
    for name in group.tensors:
        narrow[name] = replace(narrow[name], scale=np.asarray(narrow[name].scale / 4, np.float32))
    bad = replace(result.quantization, activations=narrow)
    exported = export_qdq(result.reference, result.plan, bad, load_target("spacemit"))
    feeds = list(start.data.batches())
    scales = {name: params.scale for name, params in narrow.items()}
    found = search_ranges(exported, result.plan, scales, feeds, result.reference, Trials(2, 100 * len(feeds)))
    assert found[group.name] > 1.5 * scales[group.name]
    assert search_ranges(exported, result.plan, scales, feeds, result.reference, Trials(2, 0)) == scales


@pytest.mark.parametrize("largest", [1.0, 4.0, 40.0])
def test_a_range_is_narrowed_as_far_as_clipping_costs_less_than_rounding(largest: float) -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 100_000).astype(np.float32)
    values[:20] = largest
    sketch = Sketch()
    sketch.observe(values)
    old = params_of_range(-largest, largest)

    def clipped(scale: float) -> float:
        low, high = replace(old, scale=np.asarray(scale, np.float32)).span
        return float(((values - np.clip(values, low, high)) ** 2).sum())

    least, rounding = least_scale(old, [sketch]), values.size * float(old.scale) ** 2 / 12
    assert clipped(least) <= rounding
    assert clipped(least * 0.88) > rounding / 2


def test_zeros_limit_no_range() -> None:
    sketch = Sketch()
    sketch.observe(np.zeros(100, np.float32))
    assert least_scale(params_of_range(0.0, 0.0), [sketch, Sketch()]) < 0.02 * float(
        params_of_range(0.0, 0.0).scale
    )


def test_no_range_is_narrowed_below_its_limit(tmp_path: Path) -> None:
    settings = config(tmp_path, finetune_level=0)
    result = quantize_static(uneven_model(), settings, tmp_path / "store")
    feeds = list(start_static(uneven_model(), settings).data.batches())
    wide = {
        name: replace(params, scale=np.asarray(params.scale * 4, np.float32))
        for name, params in result.quantization.activations.items()
    }
    scales = {name: params.scale for name, params in wide.items()}
    exported = export_qdq(
        result.reference, result.plan, replace(result.quantization, activations=wide), load_target("spacemit")
    )

    def searched(least: dict[str, float]) -> dict[str, float]:
        trials = Trials(1, 100 * len(feeds))
        found = search_ranges(exported, result.plan, scales, feeds, result.reference, trials, least)
        return {name: float(found[name] / scales[name]) for name in scales}

    free = searched({})
    narrowed = [name for name in free if free[name] < 0.5]
    assert narrowed
    limited = searched({name: 0.7 * float(scales[name]) for name in scales})
    assert all(limited[name] >= 0.7 for name in limited)
    assert any(limited[name] < 0.9 for name in narrowed)


def test_the_measure_is_that_of_the_outputs(tmp_path: Path) -> None:
    settings = config(tmp_path, finetune_level=0)
    result = quantize_static(uneven_model(), settings, tmp_path / "store")
    data = start_static(uneven_model(), settings).data
    held = Judge(uneven_model(), data, calibration_settings(settings), split(21, 192, 10))
    assert len(held.feeds) == 5
    total = ErrorMetrics()
    expected = Session(to_proto(uneven_model()).SerializeToString())
    found = Session(to_proto(result.model).SerializeToString(), qdq_as_written=True)
    for feeds in held.feeds:
        total.update(expected.run(feeds)[0], found.run(feeds)[0])
    assert held.judge(result.model).score == pytest.approx(total.sqnr_db)
