"""Let the inputs of a Concat share its output's parameters if little accuracy is lost.

A Concat whose inputs have parameters of their own rounds every input a second time, to the steps of the
output. With shared parameters it only copies bytes. If the Concat alone reads an input, sharing can only
reduce the error. If other operators read the input, they get coarser steps; the input then shares the
parameters only if the loss is below `MAX_LOSS_DB`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import replace

from xslim.graph.scheme import ConcatPlan, QuantParams, QuantPlan, TensorGroup
from xslim.kernels import Sketch
from xslim.quantization.parameters import activation_params

logger = logging.getLogger(__name__)

MAX_LOSS_DB = 1.0
"""Largest accepted loss of signal-to-noise ratio for an input that has other readers, in dB."""


def share_parameters(plan: QuantPlan, sketches: Mapping[str, Sketch]) -> QuantPlan:
    """Return the plan with the groups of a Concat's inputs merged into that of its output.

    Parameters
    ----------
    plan : QuantPlan
        The plan in which every input has parameters of its own.
    sketches : mapping of str to Sketch
        The sketch of every observed tensor.
    """
    merger = _Merger(plan, sketches)
    shared = sum(merger.share(concat, name) for concat in plan.concats for name in concat.inputs)
    logger.debug("%d inputs of concatenations share the parameters of the output", shared)
    return replace(plan, groups=merger.groups())


class _Merger:
    """Merges groups of tensors; every tensor belongs to exactly one group."""

    def __init__(self, plan: QuantPlan, sketches: Mapping[str, Sketch]) -> None:
        self.plan = plan
        self.sketches = sketches
        self.of_tensor = {name: group for group in plan.groups for name in group.tensors}
        self.params = {group.name: activation_params(group, sketches) for group in plan.groups}

    def share(self, concat: ConcatPlan, name: str) -> bool:
        """Give an input the parameters of the output if that is allowed; return whether it is."""
        source, output = self.of_tensor[name], self.of_tensor[concat.output]
        if source is output:
            return True
        # The output holds the values of all inputs, so its sketch describes the merged group.
        merged = replace(
            output,
            tensors=output.tensors + source.tensors,
            observed=output.observed if name in concat.private else output.observed + source.observed,
            clamp=_stricter(output.clamp, source.clamp),
        )
        params = (
            self.params[output.name] if name in concat.private else activation_params(merged, self.sketches)
        )
        if not (params.saturates_at(merged.clamp) and self._is_cheap(name in concat.private, source, params)):
            return False
        self.of_tensor.update(dict.fromkeys(merged.tensors, merged))
        self.params[merged.name] = params
        return True

    def _is_cheap(self, private: bool, source: TensorGroup, params: QuantParams) -> bool:
        loss = 20 * math.log10(float(params.scale) / float(self.params[source.name].scale))
        return private or loss <= MAX_LOSS_DB

    def groups(self) -> tuple[TensorGroup, ...]:
        """Return the merged groups in the order of their first tensors."""
        order = {name: index for index, name in enumerate(self.of_tensor)}
        groups = {id(group): group for group in self.of_tensor.values()}.values()
        return tuple(
            replace(group, tensors=tuple(sorted(group.tensors, key=order.__getitem__))) for group in groups
        )


def _stricter(
    first: tuple[float, float] | None, second: tuple[float, float] | None
) -> tuple[float, float] | None:
    if first is None or second is None:
        return first or second
    return max(first[0], second[0]), min(first[1], second[1])
