"""Keep only the inserted factors that pay: every factor is one more operator.

Without a factor, the noise of its int8 tensor grows by a ratio that follows from the ranges of the channels.
Factors whose removal adds little to the noise of the whole are removed, and the rest is equalised again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from xslim.graph.factors import is_factor, products
from xslim.graph.layers import layers
from xslim.graph.outputs import values_by_name
from xslim.quantization.balancing import FUNCTIONS, insert_factors, remove_factors
from xslim.refinement.activation_trials import Trial
from xslim.refinement.candidate import Candidate, Material, Scores
from xslim.refinement.effort import ADDED_NOISE, LARGEST_LOSS_DB
from xslim.refinement.equalization import equalised_in_folds
from xslim.refinement.noise import Noise, rank_noise


def keep_what_pays(start: Candidate, material: Material) -> Candidate:
    """Remove the factors that hardly reduce the noise; later steps use the measured noise of the tensors."""
    before = start.equalised
    if before is None or not start.everywhere:
        return start
    trial, factors = start.trial, products(start.model)
    noise = rank_noise(trial, material)
    unchanged = replace(start, noise=noise, measured=Scores(before, before, f"all {len(factors)}"))
    for share in ADDED_NOISE:
        removed = _removable(trial, factors, noise, share, material)
        if not removed:
            break
        found = _without(removed, unchanged, material)
        if found.measured and before.gain_of(found.measured.after).db >= LARGEST_LOSS_DB:
            return found
    return unchanged


def _without(removed: set[str], start: Candidate, material: Material) -> Candidate:
    """Return the candidate without some products, equalised again, with the outcomes before and after."""
    assert start.measured is not None
    factors = products(start.model)
    plan = material.planner(material.reference, {})
    extended = insert_factors(material.reference, plan, everywhere=True)
    left = remove_factors(extended, removed)
    magnitudes = material.magnitudes(left)
    equalised = equalised_in_folds(left, start.strength, magnitudes, material, start.margin)
    outcome, fewer = material.trials.judge(*equalised.folds), equalised.result(material)
    count = f"{len(products(fewer.model))} of {len(factors)}"
    return replace(
        start,
        model=fewer.model,
        plan=fewer.plan,
        scales=fewer.scales,
        equalised=outcome,
        noise={factors[name] if name in removed else name: value for name, value in start.noise.items()},
        measured=Scores(start.measured.before, outcome, count),
    )


def _removable(
    trial: Trial,
    factors: Mapping[str, str],
    noise: Mapping[str, Noise],
    share: float,
    material: Material,
) -> set[str]:
    """Return the products without which the noise grows by at most a share of it, the least useful first."""
    allowed = share * sum(float(value.mean()) for value in noise.values())
    quantized = {name: group.name for group in trial.plan.groups for name in group.tensors}
    added = {}
    for product, source in factors.items():
        if not _stands_alone(source, trial):
            continue
        tensor = product if product in quantized else source
        own = noise.get(quantized.get(tensor, ""))
        ratio = _reduction(trial, tensor, material)
        added[product] = 0.0 if own is None else float(own.mean()) * (1.0 / ratio - 1.0)
    removed: set[str] = set()
    for product in sorted(added, key=lambda name: added[name]):
        allowed -= added[product]
        if allowed < 0:
            break
        removed.add(product)
    return removed


def _stands_alone(source: str, trial: Trial) -> bool:
    """Whether no tensor but the scaled one becomes int8 without the factor.

    This holds at the output of a layer, and at that of one function of a layer. Without the factor behind a
    longer chain of float operators, all tensors of the chain would become int8, with noise that is unknown.
    """
    found, node = layers(trial.model.graph), values_by_name(trial.model.graph)[source].producer()
    if node is not None and node.op_type in FUNCTIONS:
        node = node.inputs[0].producer() if node.inputs[0] is not None else None
        if is_factor(node) and node is not None and node.inputs[0] is not None:
            node = node.inputs[0].producer()
    return node is not None and node.name in found


def _reduction(trial: Trial, tensor: str, material: Material) -> float:
    """Return the noise with the factor over that without it, for channels that count equally."""
    scale, largest = trial.scales.get(tensor), material.trials.magnitude(trial.model, tensor)
    if scale is None or largest is None or len(scale) != len(largest) or largest.max() <= 0:
        return 1.0
    steps = float((largest / scale).max()) * scale / float(largest.max())
    return float(np.clip((steps**2).mean(), 1e-6, 1.0))
