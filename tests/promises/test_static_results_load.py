"""Static runs accept all usual networks, and onnxruntime loads the results at every optimisation level."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.promises.static_runs import LEVELS, Net, quantise, run, sqnr, weights

IMAGE, ROW = "float[1, 3, 12, 12] x", "float[1, 32] x"
ODD_INPUTS = {
    "factor without dimensions": Net(
        f"({ROW}, float k) => (float[1, 8] y) {{ m = Mul(x, k)  a = MatMul(m, u)  r = Relu(a) "
        "y = MatMul(r, v) }",
        {"u": weights(1, 32, 16), "v": weights(2, 16, 8)},
        {"k": lambda random: np.float32(random.uniform(0.5, 2))},
    ),
    "rate without dimensions": Net(
        f"({ROW}, int64 sr) => (float[1, 8] y) {{ wide = Equal(sr, rate)  f = Cast<to = 1>(wide) "
        "m = Mul(x, f)  y = MatMul(m, v) }",
        {"rate": np.array(16000), "v": weights(2, 32, 8)},
        {"sr": lambda _: np.array(16000)},
    ),
    "flag without dimensions": Net(
        f"({ROW}, bool on) => (float[1, 8] y) {{ z = Mul(x, half)  m = Where(on, x, z)  y = MatMul(m, v) }}",
        {"half": np.float32(0.5), "v": weights(2, 32, 8)},
        {"on": lambda random: np.array(random.random() < 0.5)},
    ),
    "threshold without dimensions": Net(
        f"({ROW}, float most) => (float[1, 8] y) {{ a = MatMul(x, u)  c = Clip(a, none, most) "
        "y = MatMul(c, v) }",
        {"u": weights(1, 32, 16), "v": weights(2, 16, 8), "none": np.float32(-9)},
        {"most": lambda _: np.float32(1)},
    ),
    "noise": Net(
        f"({IMAGE}) => (float[1, 4, 12, 12] y) {{ n = RandomNormal<shape = [1, 3, 12, 12], scale = 1e-3>() "
        "s = Add(x, n)  y = Conv<pads = [1, 1, 1, 1]>(s, w) }",
        {"w": weights(1, 4, 3, 3, 3)},
    ),
}


def one_number(rank: int, channels: int, operator: str) -> Net:
    """A product and a bias of a single number in `rank` dimensions."""
    product = "y = Gemm(r, v, k)" if operator == "Gemm" else "p = MatMul(r, v)  y = Add(p, k)"
    return Net(
        f"(float[4, 32] x) => (float[4, {channels}] y) {{ a = MatMul(x, u)  r = Relu(a)  {product} }}",
        {"u": weights(1, 32, 16), "v": weights(2, 16, channels), "k": np.full((1,) * rank, 0.5, np.float32)},
    )


BIASES = {
    f"{operator}, {channels} channels, bias of rank {rank}": one_number(rank, channels, operator)
    for operator in ("MatMul", "Gemm")
    for channels in (1, 4)
    for rank in (0, 1, 2)
}


def between(operator: str, weights_of: dict[str, Any] | None = None, *, opset: int = 18) -> Net:
    """Something between two convolutions, which onnxruntime runs channels last; and before a Transpose."""
    constants = {name: np.asarray(value) for name, value in (weights_of or {}).items()}
    return Net(
        f"({IMAGE}, float[4] ones) => (float[1, 4, h, w] y, float[1, h, w, 8] z) "
        f"{{ a = Conv(x, u)  {operator}  y = Conv(d, v)  z = Transpose<perm = [0, 2, 3, 1]>(d) }}",
        {"u": weights(1, 8, 3, 3, 3), "v": weights(2, 4, 8, 1, 1), **constants},
        {"ones": lambda _: np.ones(4, np.float32)},
        opset=opset,
    )


PADS, AXES, SIZES = np.array([1, 2, 1, 0]), np.array([2, -1]), np.array([7, 9])
FACTORS = np.array([2, 1.5], np.float32)
IMAGES = {
    **{
        f"{mode} padding of two axes": between(
            f'd = Pad<mode = "{mode}">(a, p, , axes)', {"p": PADS, "axes": AXES}, opset=19
        )
        for mode in ("constant", "edge", "reflect", "wrap")
    },
    "computed padding of two axes": between(
        'p = Cast<to = 7>(ones)  d = Pad<mode = "edge">(a, p, , axes)', {"axes": AXES}
    ),
    **{
        f"{mode} resize of two axes by {by}": between(
            f'd = Resize<mode = "{mode}", axes = [2, 3]>(a, , {inputs})', {"given": given}
        )
        for mode in ("nearest", "linear", "cubic")
        for by, inputs, given in (("sizes", ", given", SIZES), ("factors", "given", FACTORS))
    },
    **{
        f"cubic resize, {rule}": between(
            f'd = Resize<mode = "cubic", coordinate_transformation_mode = "{rule}">(a, , , sizes)',
            {"sizes": np.array([1, 8, 7, 9])},
        )
        for rule in ("half_pixel", "asymmetric", "align_corners")
    },
    "crop of two axes": between("d = CenterCropPad<axes = [2, 3]>(a, sizes)", {"sizes": np.array([8, 14])}),
    "pool with dilations": between("d = AveragePool<kernel_shape = [3, 3], dilations = [2, 2]>(a)", opset=19),
    "half-precision join": Net(
        "(float16[1, 3, 12, 12] x) => (float16[1, 4, 10, 10] y) "
        "{ a = Conv(x, u)  b = Conv(x, t)  c = Concat<axis = 1>(a, b)  y = Conv(c, v) }",
        {
            "u": weights(1, 8, 3, 3, 3, dtype=np.float16),
            "t": weights(2, 8, 3, 3, 3, dtype=np.float16),
            "v": weights(3, 4, 16, 1, 1, dtype=np.float16),
        },
    ),
}
PRODUCT = "a = MatMul(r, u)  b = Add(a, k)"
PRODUCTS = {
    f"{name} at opset {opset}": Net(
        f"(float[1, 3, 8, 16] x) => ({outputs}) {{ r = Relu(x)  {PRODUCT}  {rest} }}",
        {"u": weights(1, 16, 16), "k": weights(2, 16), "v": weights(3, 16, 16)},
        opset=opset,
    )
    for name, outputs, rest in (
        ("last sum", "float[1, 3, 8, 16] b", ""),
        ("sum before a Relu", "float[1, 3, 8, 16] y", "s = Relu(b)  y = MatMul(s, v)"),
        ("sum read twice", "float[1, 3, 8, 16] y", "s = Sigmoid(b)  t = Mul(s, b)  y = MatMul(t, v)"),
    )
    for opset in (13, 17, 21, 23)
}
NETS = {**ODD_INPUTS, **BIASES, **IMAGES, **PRODUCTS}


@pytest.mark.parametrize("name", NETS)
def test_the_result_loads_and_computes_at_every_optimisation(name: str, tmp_path: Path) -> None:
    net = NETS[name]
    result = quantise(net, tmp_path)
    assert any(node.op_type == "QuantizeLinear" for node in result.graph.node)
    sample = net.samples()[0]
    for level in LEVELS:
        expected, found = run(net.proto, sample, level), run(result, sample, level)
        assert sqnr(expected, found) > net.least_db


@pytest.mark.parametrize(
    "name",
    [
        "half-precision join",
        "noise",
        "pool with dilations",
        "flag without dimensions",
        "last sum at opset 23",
    ],
)
def test_the_result_can_be_refined_and_analysed(name: str, tmp_path: Path) -> None:
    net = NETS[name]
    result = quantise(net, tmp_path, finetune_level=2, analysis_enable=True)
    assert list(tmp_path.glob("*_report.md"))
    sample = net.samples()[0]
    assert sqnr(run(net.proto, sample, LEVELS[0]), run(result, sample, LEVELS[0])) > net.least_db
