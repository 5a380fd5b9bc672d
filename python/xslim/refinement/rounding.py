"""The steps that round weights with second-order information and correct the biases for it.

`quantization.rounding` and `quantization.bias_correction` contain the arithmetic and its sources.
"""

from __future__ import annotations

import logging
from dataclasses import replace

import onnx_ir as ir

from xslim.calibration.grams import GramCollector
from xslim.graph.scheme import QuantPlan
from xslim.quantization.bias_correction import correct_biases
from xslim.quantization.rounding import layers_to_round, round_with_feedback
from xslim.refinement.candidate import Candidate, Material

logger = logging.getLogger(__name__)


def gram_collector(model: ir.Model, plan: QuantPlan, material: Material) -> GramCollector:
    """Return the collector that computes `Material.grams` during the calibration pass."""
    wanted = dict.fromkeys(layer.vectors for _, layer in layers_to_round(model, plan))
    runs, split = material.data.runs, material.judge.split
    # Copies come after the samples of the material; a copy of a sample that judges must not be used.
    return GramCollector(wanted, runs, lambda number: number >= runs or split.holds_back(number))


def with_grams(material: Material, plan: QuantPlan, collected: GramCollector) -> Material:
    """Add the collected Gram matrices to the material; log the layers that have no usable matrix."""
    grams = collected.usable()
    layers = [layer for _, layer in layers_to_round(material.reference, plan)]
    if names := sorted(layer.node for layer in layers if layer.vectors not in grams):
        logger.warning(
            "weights are rounded to nearest where the inputs are not finite or empty: %s", ", ".join(names)
        )
    return replace(material, grams=grams)


def round_weights(
    start: Candidate, material: Material, *, scales: tuple[float, ...] = (1.0,), bits: int = 8
) -> Candidate:
    """Round weights with feedback, and correct biases for the change of the outputs' means.

    Parameters
    ----------
    start : Candidate
        The candidate, whose rounded weights and corrected biases are replaced.
    material : Material
        The float model and the second moments of the inputs.
    scales : tuple of float
        Factors of the scale to try for every channel.
    bits : int
        Width of the weights.
    """
    numbers = round_with_feedback(
        material.reference, start.plan, start.quantization, material.grams, bits=bits, factors=scales
    )
    return _corrected(replace(start, quantization=numbers), material)


def correct_means(start: Candidate, material: Material) -> Candidate:
    """Correct biases for weights rounded to nearest, unless rounding with feedback was kept and did so."""
    return start if start.model is not material.reference else _corrected(start, material)


def _corrected(start: Candidate, material: Material) -> Candidate:
    model = correct_biases(
        material.reference, start.plan, start.quantization, material.means, material.target
    )
    return replace(start, model=model)
