"""A static run takes any real network, and onnxruntime loads what it writes, however it optimises."""

from __future__ import annotations

from pathlib import Path

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
NETS = {**ODD_INPUTS, **BIASES}


@pytest.mark.parametrize("name", NETS)
def test_the_result_loads_and_computes_at_every_optimisation(name: str, tmp_path: Path) -> None:
    net = NETS[name]
    result = quantise(net, tmp_path)
    assert any(node.op_type == "QuantizeLinear" for node in result.graph.node)
    sample = net.samples()[0]
    for level in LEVELS:
        expected, found = run(net.proto, sample, level), run(result, sample, level)
        assert sqnr(expected, found) > net.least_db
