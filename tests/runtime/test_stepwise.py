"""A model run piece by piece gives the values of one run, and uses tensors changed between pieces."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from numpy.typing import NDArray

from xslim.errors import InternalError
from xslim.runtime import Session, Stepwise
from xslim.runtime.session import Feeds

MODEL = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[N, 3] x, bool c) => (float[N, 3] y, float[N, 3] z)
<float[3] b = {1.0, 2.0, 3.0}>
{
    p = Add(x, b)
    q = Relu(p)
    r = If(c) <
        then_branch = t () => (float[N, 3] s) { s = Mul(q, b) },
        else_branch = e () => (float[N, 3] s) { s = Neg(q) }
    >
    y = Sub(r, p)
    z = Add(y, b)
}
"""


def samples() -> list[Feeds]:
    generator = np.random.default_rng(0)
    return [
        {"x": generator.standard_normal((rows, 3)).astype(np.float32), "c": np.array(rows % 2 == 0)}
        for rows in (1, 2, 5)
    ]


def expected(name: str) -> list[NDArray[np.generic]]:
    model = ir.from_onnx_text(MODEL)
    session = Session(ir.serde.serialize_model(model).SerializeToString(), [name])
    return [session.run(feeds)[0] for feeds in samples()]


def test_pieces_compute_what_the_whole_computes() -> None:
    run = Stepwise(ir.from_onnx_text(MODEL), samples())
    run.reach("q")
    for name in ("y", "z"):
        for found, wanted in zip(run.reach(name), expected(name), strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_changes_reach_what_comes_later() -> None:
    run = Stepwise(ir.from_onnx_text(MODEL), samples())
    before = run.reach("y")
    run.change("y", lambda array: array + 10)
    run.set_constant("b", np.float32([0, 0, 1]))
    with pytest.raises(InternalError, match="no such constant"):
        run.set_constant("nothing", np.float32([0]))
    for found, start in zip(run.reach("z"), before, strict=True):
        np.testing.assert_array_equal(found, start + 10 + np.float32([0, 0, 1]))


def test_what_nothing_reads_any_more_is_let_go() -> None:
    run = Stepwise(ir.from_onnx_text(MODEL), samples())
    run.reach("y")
    with pytest.raises(KeyError):
        run.reach("p")
