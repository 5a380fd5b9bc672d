"""An output that joins boxes and scores is judged in two parts, so that lost scores count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tests import models
from tests.quantization.build import prepared
from tests.quantization.test_heads import TRANSPOSE, head
from xslim.calibration.data import CalibrationData
from xslim.calibration.observe import Settings
from xslim.config import CalibrationParameters
from xslim.graph.inputs import input_specs
from xslim.graph.tail import joined_outputs
from xslim.refinement.judge import Judge, Split


def data_of(model: ir.Model, folder: Path) -> CalibrationData:
    listing = models.write_samples(folder / "data", (1, 3, 16, 16), 4)
    given = CalibrationParameters.model_validate(
        {"input_parameters": [{"file_type": "npy", "data_list_path": str(listing)}]}
    )
    return CalibrationData(input_specs(model), given)


def judge_of(model: ir.Model, folder: Path) -> Judge:
    return Judge(model, data_of(model, folder), Settings(), Split(1, (0,)))


def without(model: ir.Model, weight: str) -> ir.Model:
    """The model with a weight of zero, which loses the result of its layer."""
    changed = model.clone()
    value = changed.graph.initializers[weight]
    assert value.const_value is not None
    value.const_value = ir.tensor(np.zeros_like(value.const_value.numpy()), name=weight)
    return changed


@pytest.mark.parametrize("turned", [False, True])
def test_lost_scores_cost_half_of_the_score(tmp_path: Path, turned: bool) -> None:
    model = prepared(head(TRANSPOSE, output="y") if turned else head())
    judge = judge_of(model, tmp_path)
    ratios = judge.judge(without(model, "ws")).noise_ratios
    assert len(ratios) == 2
    assert ratios[0] == pytest.approx(0.0, abs=1e-9)
    assert ratios[1] == pytest.approx(1.0, abs=0.01)
    lost_boxes = judge.judge(without(model, "wb")).noise_ratios
    assert lost_boxes[0] == pytest.approx(1.0, abs=0.01)
    assert lost_boxes[1] == pytest.approx(0.0, abs=1e-9)


def test_an_output_that_joins_nothing_is_judged_as_a_whole(tmp_path: Path) -> None:
    model = prepared(models.conv_net(size=16))
    assert joined_outputs(model.graph) == set()
    assert len(judge_of(model, tmp_path).judge(model.clone()).noise_ratios) == 1


def test_judges_of_other_samples_take_the_same_columns(tmp_path: Path) -> None:
    model = prepared(head())
    data = data_of(model, tmp_path)
    whole = Judge(prepared(models.conv_net(size=16)), data, Settings(), Split(2, (0,)))
    first = Judge(model, data, Settings(), Split(2, (0,)))
    second = Judge(model, data, Settings(), Split(2, (1,)), first)
    found = [judge.judge(without(model, "ws")) for judge in (first, second)]
    assert type(found[0]).joined(found).noise_ratios.shape == (2,)
    like_whole = Judge(model, data, Settings(), Split(2, (1,)), whole)
    assert like_whole.judge(without(model, "ws")).noise_ratios.shape == (1,)
