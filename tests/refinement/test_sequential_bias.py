"""Sequential bias correction makes the means equal those of the float model and does not fit noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.refinement.test_steps import SHAPE, config, uneven_model
from xslim.export.qdq import export_qdq
from xslim.graph.io import to_proto
from xslim.pipeline.static import StaticResult, quantize_static
from xslim.refinement.sequential_bias import (
    certain_shift,
    correct_biases_in_sequence,
    mean_of_channels,
)
from xslim.runtime import Session
from xslim.runtime.session import Feeds
from xslim.targets import load_target


def samples(seed: int, count: int) -> list[Feeds]:
    generator = np.random.default_rng(seed)
    return [{"x": generator.standard_normal(SHAPE).astype(np.float32)} for _ in range(count)]


def mean_error(float_model: bytes, quantized: bytes, feeds: list[Feeds]) -> float:
    expected, found = Session(float_model), Session(quantized, qdq_as_written=True)
    errors = [expected.run(item)[0].astype(np.float64) - found.run(item)[0] for item in feeds]
    return float(np.abs(np.mean(errors, axis=0)).max())


@pytest.fixture(name="plain")
def _plain(tmp_path: Path) -> StaticResult:
    return quantize_static(uneven_model(), config(tmp_path, finetune_level=0), tmp_path / "store")


def test_means_follow_the_float_model(plain: StaticResult) -> None:
    target = load_target("spacemit")
    corrected = correct_biases_in_sequence(
        plain.reference, plain.reference, plain.plan, plain.quantization, target, samples(1, 48)
    )
    before = to_proto(plain.model).SerializeToString()
    exported = export_qdq(corrected, plain.plan, plain.quantization, target)
    after = to_proto(exported).SerializeToString()
    reference = to_proto(plain.reference).SerializeToString()
    fresh = samples(2, 200)
    assert mean_error(reference, after, fresh) < 0.6 * mean_error(reference, before, fresh)


def test_the_models_that_are_given_stay_as_they_are(plain: StaticResult) -> None:
    before = to_proto(plain.reference).SerializeToString()
    target = load_target("spacemit")
    first, second = (
        correct_biases_in_sequence(
            plain.reference, plain.reference, plain.plan, plain.quantization, target, samples(1, 5)
        )
        for _ in range(2)
    )
    assert to_proto(plain.reference).SerializeToString() == before
    assert to_proto(first).SerializeToString() == to_proto(second).SerializeToString()


def test_chance_is_taken_off_the_shift() -> None:
    generator = np.random.default_rng(0)
    noise = generator.standard_normal((16, 2))
    plain = noise.mean(axis=0)
    shift = certain_shift(noise + np.array([3.0, 0.0]))
    assert shift[0] == pytest.approx(3.0 + plain[0], abs=0.2)
    assert abs(shift[1]) < 0.7 * abs(plain[1])


def test_a_channel_with_infinities_is_not_shifted() -> None:
    assert certain_shift(np.array([[0.5, np.inf], [0.5, 1.0]])).tolist() == [0.5, 0.0]


def test_one_sample_is_taken_as_it_is() -> None:
    assert certain_shift(np.full((1, 3), 0.5)).tolist() == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("axis", [1, -1])
def test_means_are_those_of_all_positions(axis: int) -> None:
    array = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    rows = np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis]).astype(np.float64)
    np.testing.assert_allclose(mean_of_channels(array, axis), rows.mean(axis=0), rtol=1e-12)
