"""Full ranges: activation ranges that clip nothing, as an alternative to those of the calibration method."""

from __future__ import annotations

from dataclasses import replace

from xslim.quantization.parameters import search_groups
from xslim.refinement.candidate import Candidate, Material


def clip_nothing(start: Candidate, material: Material) -> Candidate:
    """Use the smallest and the largest value as the range wherever the configuration names no method."""
    groups = [group for group in start.plan.groups if group.method == "default" and group.fixed_range is None]
    if not groups:
        return start
    full = search_groups((replace(group, method="minmax") for group in groups), material.sketches)
    return start.with_activations(full)
