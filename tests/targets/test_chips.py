"""Tables of chips take the operators of their base and add what is known about the chip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

import xslim
from tests import models
from tests.library.test_data import images
from xslim.errors import ConfigError
from xslim.targets import load_target


@pytest.mark.parametrize(("name", "cores"), [("spacemit-k1", 4), ("spacemit-k3", 8)])
def test_a_chip_has_the_operators_of_the_common_table(name: str, cores: int) -> None:
    target, common = load_target(name), load_target("spacemit")
    assert replace(target, name=common.name, chip=None) == common
    assert target.chip is not None
    assert target.chip.ai_cores == cores
    assert common.chip is None


def test_the_result_is_that_of_the_common_table() -> None:
    found = [
        xslim.quantize(models.conv_net("n"), images(), target=name).model
        for name in ("spacemit", "spacemit-k1")
    ]
    assert found[0] == found[1]


def large_product(rows: int) -> onnx.ModelProto:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="product")
    return models.model([node], {"x": [1, rows]}, {"y": [1, 64]}, {"w": np.ones((rows, 64), np.float32)})


@pytest.mark.parametrize(("rows", "mentioned"), [(2049, True), (2000, False)])
def test_weights_beyond_the_tightly_coupled_memory_are_named(rows: int, mentioned: bool) -> None:
    found = xslim.check(large_product(rows), "spacemit-k1").advice
    assert any("SPACEMIT_EP_INTRA_THREAD_NUM=4" in line for line in found)
    assert any("512 KiB" in line and "w" in line for line in found) == mentioned
    assert xslim.check(large_product(rows), "spacemit").advice == ()


def test_a_table_of_ones_own_may_have_a_base(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nbase = "spacemit"\n[chip]\nai_cores = 2\n', "utf-8")
    assert replace(load_target(str(path)), name="spacemit", chip=None) == load_target("spacemit")
    path.write_text('name = "mine"\nbase = "spacemitt"\n', "utf-8")
    with pytest.raises(ConfigError, match="base: unknown target 'spacemitt'"):
        load_target(str(path))
    path.write_text('name = "mine"\nbase = "spacemit"\n[chip]\ntightly_coupled_kb = 2\n', "utf-8")
    with pytest.raises(ConfigError, match=r"chip.ai_cores: required"):
        load_target(str(path))
