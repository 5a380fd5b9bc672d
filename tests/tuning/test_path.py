"""The predicted trade-off: prices, pruning and the knee, on a chain whose figures are known."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xslim.tuning.landscape import Landscape, Quantiser
from xslim.tuning.path import ISLAND_PRICE, Predictor, Stage, knee, pruned, trade_off


def chain(noises: list[float], macs: list[int] | None = None) -> Predictor:
    """A chain of layers; tensor n lies between layers n and n + 1, so freeing it makes both float."""
    operators = [f"layer{number}" for number in range(len(noises) + 1)]
    quantisers = tuple(
        Quantiser(f"t{number}", (operators[number], operators[number + 1]), (noise,), (f"t{number}",))
        for number, noise in enumerate(noises)
    )
    sizes = macs or [10] * len(operators)
    return Predictor(
        Landscape(
            quantisers,
            dict(zip(operators, sizes, strict=True)),
            sum(sizes),
            tuple(pairwise(operators)),
        )
    )


def test_noise_adds_and_a_tensor_costs_the_layers_around_it() -> None:
    predictor = chain([0.01, 0.02, 0.01, 0.01, 0.01])
    start, freed = predictor.stage(()), predictor.stage([("t1",)])
    assert start.predicted_db == pytest.approx(-10 * np.log10(0.06))
    # Layers 1 and 2 are float, but tensors 0 and 2 still stand before and behind int8 layers.
    assert freed.predicted_db == pytest.approx(-10 * np.log10(0.04))
    assert freed.float_share == pytest.approx(2 / 6)
    assert (start.islands, freed.islands) == (1, 2)


def test_a_tensor_between_float_layers_needs_no_quantiser() -> None:
    predictor = chain([0.01] * 5)
    assert predictor.stage([("t0",), ("t2",)]).predicted_db == pytest.approx(-10 * np.log10(0.02))


def test_the_loudest_of_equal_price_comes_first() -> None:
    path = trade_off(chain([0.001, 0.002, 0.05, 0.001, 0.001]), 20.0)
    assert path[1].blocks == (("t2",),)
    assert [stage.predicted_db for stage in path] == sorted(stage.predicted_db for stage in path)


def test_a_cheap_tensor_wins_over_a_dear_one() -> None:
    path = trade_off(chain([0.02, 0.0001, 0.0001, 0.0001, 0.021], [1, 1, 50, 50, 500, 500]), 17.0)
    assert path[1].blocks == (("t0",),)


def test_the_last_int8_layer_is_never_freed() -> None:
    path = trade_off(chain([0.1] * 5), 200.0)
    assert all(stage.float_share < 1.0 for stage in path)


@given(st.lists(st.floats(1e-6, 1.0), min_size=2, max_size=12), st.floats(0.0, 30.0))
def test_pruning_keeps_what_is_wanted_and_costs_no_more(noises: list[float], extra: float) -> None:
    predictor = chain(noises)
    path = trade_off(predictor, None)
    least = path[0].predicted_db + extra
    enough = [stage for stage in path if stage.predicted_db >= least]
    for stage in enough[:1]:
        smaller = pruned(predictor, stage, least)
        assert smaller.predicted_db >= least
        assert smaller.float_share + ISLAND_PRICE * smaller.islands <= (
            stage.float_share + ISLAND_PRICE * stage.islands
        )


def test_the_knee_is_where_the_curve_bends() -> None:
    path = [Stage((), db, share, 1) for db, share in ((10, 0.0), (20, 0.02), (21, 0.3), (22, 0.6))]
    assert knee(path) == 1
