"""Models with operators that onnxruntime's optimiser writes, each between two products or convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tests.models import draw

MICROSOFT = "com.microsoft"
BATCH, TOKENS, WIDTH, HEADS = 2, 8, 32, 4

Weights = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Case:
    """What lies between tensor ``a`` and tensor ``b``.

    Attributes
    ----------
    nodes : sequence of NodeProto
        They may read ``x`` as well.
    weights : mapping of str to array
        Initializers.
    image : bool
        The tensors are images between convolutions instead of tokens between products.
    """

    nodes: Sequence[NodeProto]
    weights: Weights = field(default_factory=dict)
    image: bool = False

    def model(self, opset: int = 17) -> onnx.ModelProto:
        """The whole model, ``x`` to ``y``; between its ends only names, as an optimiser leaves it."""
        shape, frame = FRAMES[self.image]
        weights = {**frame.weights, **self.weights}
        nodes = [frame.nodes[0], *self.nodes, frame.nodes[1]]
        graph = helper.make_graph(
            nodes,
            "net",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        )
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def feeds(self, seed: int = 0) -> dict[str, NDArray[np.float32]]:
        """One input."""
        shape, _ = FRAMES[self.image]
        return {"x": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}


def foreign(op_type: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    """A node of onnxruntime's domain; inputs and outputs are separated by blanks, ``-`` stands for none."""
    names = ([name if name != "-" else "" for name in text.split()] for text in (inputs, outputs))
    return helper.make_node(op_type, *names, name=f"{op_type} {outputs}", domain=MICROSOFT, **attributes)


FRAMES: Mapping[bool, tuple[list[int], Case]] = {
    False: (
        [BATCH, TOKENS, WIDTH],
        Case(
            [
                helper.make_node("MatMul", ["x", "w_in"], ["a"], name="before"),
                helper.make_node("MatMul", ["b", "w_out"], ["y"], name="behind"),
            ],
            {"w_in": draw(1, WIDTH, WIDTH), "w_out": draw(2, WIDTH, WIDTH)},
        ),
    ),
    True: (
        [1, 8, 6, 6],
        Case(
            [
                helper.make_node("Conv", ["x", "w_in"], ["a"], name="before"),
                helper.make_node("Conv", ["b", "w_out"], ["y"], name="behind"),
            ],
            {"w_in": draw(1, 8, 8, 1, 1), "w_out": draw(2, 8, 8, 1, 1)},
        ),
    ),
}

GAMMA = 1 + 0.1 * draw(3, WIDTH)
POSITIONS = np.tile(np.arange(TOKENS), (BATCH, 1))
ANGLES = np.arange(16)[:, None] / 10 ** np.arange(WIDTH // HEADS // 2)
MASK = np.array([[1] * TOKENS, [1] * 5 + [0] * 3], np.int32)
NORM = {"gamma": GAMMA, "beta": draw(4, WIDTH), "bias": draw(5, WIDTH)}
PACKED = {"qkv": draw(6, WIDTH, 3 * WIDTH), "qkv_bias": draw(7, 3 * WIDTH)}
ROTARY = {
    "positions": POSITIONS,
    "cos": np.cos(ANGLES).astype(np.float32),
    "sin": np.sin(ANGLES).astype(np.float32),
}
KERNEL = {"kernel": draw(8, 8, 8, 3, 3), "offset": draw(9, 8)}


def convolution(activation: str, *parameters: float, inputs: str = "a kernel offset") -> Case:
    attributes = {"activation_params": list(parameters)} if parameters else {}
    node = foreign("FusedConv", inputs, "b", activation=activation, pads=[1] * 4, **attributes)
    return Case([node], KERNEL, image=True)


REPLACED: Mapping[str, Case] = {
    "Gelu": Case([foreign("Gelu", "a", "b")]),
    "BiasGelu": Case([foreign("BiasGelu", "a bias", "b")], NORM),
    "FastGelu": Case([foreign("FastGelu", "a", "b")]),
    "FastGelu with a bias": Case([foreign("FastGelu", "a bias", "b")], NORM),
    "QuickGelu": Case([foreign("QuickGelu", "a", "b", alpha=1.5)]),
    "SkipLayerNormalization": Case(
        [foreign("SkipLayerNormalization", "a x gamma beta bias", "b", epsilon=1e-5)], NORM
    ),
    "SkipLayerNormalization without beta": Case([foreign("SkipLayerNormalization", "a x gamma", "b")], NORM),
    "SkipLayerNormalization with its sum": Case(
        [
            foreign("SkipLayerNormalization", "a x gamma beta", "n - - s"),
            helper.make_node("Add", ["n", "s"], ["b"]),
        ],
        NORM,
    ),
    "SkipSimplifiedLayerNormalization": Case(
        [
            foreign("SkipSimplifiedLayerNormalization", "a x gamma bias", "n - - s", epsilon=1e-6),
            helper.make_node("Add", ["n", "s"], ["b"]),
        ],
        NORM,
    ),
    "SimplifiedLayerNormalization": Case(
        [helper.make_node("SimplifiedLayerNormalization", ["a", "gamma"], ["b"], epsilon=1e-6)], NORM
    ),
    "FusedMatMul with a weight": Case(
        [foreign("FusedMatMul", "a weight", "b", transB=1, alpha=0.5)], {"weight": draw(3, WIDTH, WIDTH)}
    ),
    "FusedMatMul of scores": Case(
        [
            foreign("FusedMatMul", "a x", "s", transB=1, alpha=0.25),
            helper.make_node("MatMul", ["s", "x"], ["b"]),
        ]
    ),
    "FusedMatMul transposed twice": Case(
        [
            foreign("FusedMatMul", "a x", "s", transA=1),
            foreign("FusedMatMul", "s x", "t", transA=1, transB=1),
            helper.make_node("Transpose", ["t"], ["b"], perm=[0, 2, 1]),
        ]
    ),
    "FusedMatMul across the batch": Case(
        [
            helper.make_node("Transpose", ["a"], ["t"], perm=[1, 0, 2]),
            foreign("FusedMatMul", "t x", "s", transBatchA=1, transB=1),
            helper.make_node("MatMul", ["s", "x"], ["b"]),
        ]
    ),
    "FusedConv": convolution("Relu"),
    "FusedConv with a slope": convolution("LeakyRelu", 0.2),
    "FusedConv with bounds": convolution("Clip", -0.5, 0.5),
    "FusedConv with two parameters": convolution("HardSigmoid", 0.3, 0.4),
    "FusedConv with a sum": convolution("Relu", inputs="a kernel offset x"),
}
"""Operators that become those of the standard."""

KEPT: Mapping[str, Case] = {
    "Attention": Case([foreign("Attention", "a qkv qkv_bias", "b", num_heads=HEADS)], PACKED),
    "Attention with a mask": Case(
        [foreign("Attention", "a qkv qkv_bias mask", "b", num_heads=HEADS)], {**PACKED, "mask": MASK}
    ),
    "Attention that is causal": Case(
        [foreign("Attention", "a qkv qkv_bias", "b", num_heads=HEADS, unidirectional=1)], PACKED
    ),
    "MultiHeadAttention": Case(
        [foreign("MultiHeadAttention", "a a a qkv_bias", "b", num_heads=HEADS)], PACKED
    ),
    "RotaryEmbedding": Case(
        [foreign("RotaryEmbedding", "a positions cos sin", "b", num_heads=HEADS)], ROTARY
    ),
    "Inverse": Case(
        [
            helper.make_node("Slice", ["a", "from", "to", "axis"], ["q"]),
            foreign("Inverse", "q", "i"),
            helper.make_node("MatMul", ["i", "a"], ["b"]),
        ],
        {"from": np.array([0]), "to": np.array([TOKENS]), "axis": np.array([2])},
    ),
}
"""Operators that stay, at least below opset 23."""

CASES = {**REPLACED, **KEPT}
