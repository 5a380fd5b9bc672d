"""Small static runs as input for the tests of the analysis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from tests import models
from xslim.analysis import Subject
from xslim.config import load_config
from xslim.graph.io import load_model
from xslim.pipeline.prepare import prepare_model
from xslim.pipeline.static import quantize_static

Samples = Sequence[NDArray[np.float32]]


def pictures(count: int, shape: Sequence[int] = (1, 3, 8, 8), seed: int = 0) -> list[NDArray[np.float32]]:
    """Draw normal samples of one shape."""
    generator = np.random.default_rng(seed)
    return [generator.standard_normal(shape).astype(np.float32) for _ in range(count)]


def make_subject(
    folder: Path,
    proto: onnx.ModelProto,
    samples: Samples,
    *,
    calibration: dict[str, Any] | None = None,
    quantization: dict[str, Any] | None = None,
    entry: dict[str, Any] | None = None,
) -> Subject:
    """Quantise a model with one input and return what the analysis gets to see.

    `entry` replaces the fields of the input after the run: what the analysis reads of the configuration.
    """
    for index, sample in enumerate(samples):
        np.save(folder / f"{index}.npy", sample)
    listing = folder / "list.txt"
    listing.write_text("".join(f"{index}.npy\n" for index in range(len(samples))), "utf-8")
    inputs = {"file_type": "npy", "data_list_path": str(listing)}
    raw = {
        "calibration_parameters": {
            "input_parameters": [inputs],
            "calibration_device": "cpu",
            **(calibration or {}),
        },
        "quantization_parameters": {"finetune_level": 0, **(quantization or {})},
    }
    config = load_config(raw)
    original = load_model(proto)
    result = quantize_static(prepare_model(original, config), config, folder / "sketches")
    if entry is not None:
        raw["calibration_parameters"]["input_parameters"] = [{"data_list_path": str(listing), **entry}]
    return Subject(
        name="net.q",
        version="0",
        original=original,
        reference=result.reference,
        exported=result.model,
        plan=result.plan,
        quantization=result.quantization,
        sketches=result.sketches,
        samples=result.samples,
        calibration_samples=result.calibration_samples,
        unseen=result.unseen,
        config=load_config(raw),
        early_ranges=result.early_ranges,
        steps=result.gains,
        spreads=result.spreads,
    )


def mixed_head(heads: Sequence[str] = ("",)) -> onnx.ModelProto:
    """Boxes up to hundreds beside scores up to one, joined and read by one more Conv: ``x`` to ``y``."""
    weights = {"wo": models.draw(3, 5, 8, 1, 1)}
    nodes = []
    for seed, head in enumerate(heads):
        weights[f"wb{head}"] = 300 * models.draw(1 + 10 * seed, 4, 3, 1, 1)
        weights[f"ws{head}"] = models.draw(2 + 10 * seed, 4, 3, 1, 1)
        boxes, raw, scores, joined = (f"{name}{head}" for name in ("boxes", "raw", "scores", "joined"))
        nodes += [
            helper.make_node("Conv", ["x", f"wb{head}"], [boxes], name=boxes),
            helper.make_node("Conv", ["x", f"ws{head}"], [raw], name=raw),
            helper.make_node("Sigmoid", [raw], [scores], name=scores),
            helper.make_node("Concat", [boxes, scores], [joined], name=f"join{head}", axis=1),
            helper.make_node("Conv", [joined, "wo"], [f"y{head}"], name=f"out{head}"),
        ]
    outputs = {f"y{head}": [1, 5, 8, 8] for head in heads}
    return models.model(nodes, {"x": [1, 3, 8, 8]}, outputs, weights)
