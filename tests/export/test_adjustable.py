"""Quantisers with parameters as inputs compute what exported quantisers compute."""

from __future__ import annotations

import numpy as np
import pytest

from tests import models
from tests.quantization.build import graph, plan_of, prepared
from xslim.export.adjustable import Adjustable
from xslim.export.qdq import export_qdq
from xslim.graph.scheme import Quantization
from xslim.quantization.parameters import params_of_range
from xslim.runtime import Session
from xslim.targets import load_target

TEXT = """(float[1,3,8,8] x) => (float[1,4,8,8] y) {
    a = Conv <pads=[1,1,1,1]> (x, u)
    b = Relu(a)
    y = Conv <pads=[1,1,1,1]> (b, v)
}"""


@pytest.mark.parametrize("reach", [0.2, 0.5])
def test_one_session_gives_the_results_of_every_export(reach: float) -> None:
    model = prepared(graph(TEXT, {"u": models.draw(1, 6, 3, 3, 3), "v": models.draw(2, 4, 6, 3, 3)}))
    target = load_target("spacemit")
    plan = plan_of(model)
    low = {"x": -reach, "b": 0.0, "y": -reach}
    activations = {name: params_of_range(low[name], reach) for group in plan.groups for name in group.tensors}
    assert len(activations) == 3
    sample = {"x": models.draw(3, 1, 3, 8, 8)}
    adjustable = Adjustable(model, plan, activations)
    session = Session(adjustable.model, qdq_as_written=True)
    [found] = session.run({**sample, **adjustable.parameters(activations)})
    exported = export_qdq(model, plan, Quantization(activations, {}), target)
    [expected] = Session(exported, qdq_as_written=True).run(sample)
    assert np.array_equal(found, expected)
    assert len(np.unique(found)) > 20
