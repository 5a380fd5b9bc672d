"""Observed ranges for functions whose bounds are known, as an alternative to the bounds.

A Softmax over many positions never comes near 1, so the range from 0 to 1 wastes most levels: with the
observed range, a vision transformer gained 14 dB. Where a later input may come closer to the bounds, the
bounds are safer.
"""

from __future__ import annotations

from dataclasses import replace

from xslim.quantization.parameters import search_groups
from xslim.refinement.candidate import Candidate, Material


def use_observed(start: Candidate, material: Material) -> Candidate:
    """Use the calibrated range of every tensor whose range follows from its function."""
    groups = [group for group in start.plan.groups if group.fixed_range is not None]
    known = [
        group for group in groups if not any(material.sketches[name].is_empty for name in group.observed)
    ]
    if not known:
        return start
    found = search_groups((replace(group, fixed_range=None) for group in known), material.sketches)
    return start.with_activations(found)
