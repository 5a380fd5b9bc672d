"""Leave the activations float whose rounding costs most, where few multiply-accumulates become float.

The noise of every int8 activation is measured. Tensors are then left float one after another, the one with
the best ratio of noise to price first, until the noise is small or the price too high. The price of a tensor
is the share of multiply-accumulates of the operators that read or write it in int8: they become float too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

import onnx_ir as ir

from xslim.graph.cost import model_cost
from xslim.graph.outputs import values_by_name
from xslim.graph.scheme import QuantPlan, TensorGroup
from xslim.quantization.rules import listed_tensors
from xslim.refinement.activation_trials import Trial
from xslim.refinement.candidate import Candidate, Material, Scores
from xslim.refinement.effort import (
    ENOUGH_DB,
    FLOAT_CANDIDATES,
    LEAST_DB_PER_PERCENT,
    LEAST_FLOAT_GAIN_DB,
)
from xslim.refinement.noise import Noise, predicted_db, rank_noise

logger = logging.getLogger(__name__)

LEFT = "left float by refinement"
SHOWN = 5


def keep_listed(start: Candidate, material: Material) -> Candidate:
    """Plan the tensors of the configuration's ``float_tensors`` as float.

    They become float after the equalisation, which is therefore the same for every list.
    """
    kept = {**start.kept_float, **listed_tensors(start.model, material.float_tensors)}
    if not kept:
        return start
    return replace(start, kept_float=kept, plan=material.planner(start.model, kept))


def leave_float(start: Candidate, material: Material) -> Candidate:
    """Leave the tensors float that cost most, unless int8 activations lose little anyway."""
    trial = start.trial
    if (start.equalised or material.trials.judge(trial)).worst >= ENOUGH_DB:
        return start
    search = _Search(trial, material, start.noise or rank_noise(trial, material))
    found = search.run(start.kept_float)
    if found.kept_float == start.kept_float:
        return start
    before = material.trials.judge(trial)
    after = material.trials.judge(replace(trial, plan=found.plan))
    count = len(start.plan.int8_operators) - len(found.plan.int8_operators)
    share = search.lost_share(found.plan)
    return replace(
        start,
        plan=found.plan,
        kept_float=found.kept_float,
        measured=Scores(before, after, f"{count} operators, {share:.1%} of the multiply-accumulates"),
    )


def log_left_float(plan: QuantPlan) -> None:
    """Log the operators that refinement has left float, and why."""
    left = [operator for operator in plan.operators if operator.reason.startswith(LEFT)]
    if not left:
        return
    lines = [
        f"{item.name} ({item.op_type}): {item.reason.removeprefix(LEFT + ': ')}" for item in left[:SHOWN]
    ]
    if len(left) > SHOWN:
        lines.append(f"and {len(left) - SHOWN} more")
    logger.info("refinement left %d operators float:\n%s", len(left), "\n".join(lines))


@dataclass(frozen=True)
class _State:
    """The tensors that are left float so far, the plan without them, and its predicted score."""

    kept_float: Mapping[str, str]
    plan: QuantPlan
    predicted: float
    share: float


class _Search:
    """Chooses tensors one after another."""

    def __init__(self, trial: Trial, material: Material, noise: Mapping[str, Noise]) -> None:
        self._trial = trial
        self._material = material
        self._noise = noise
        self._values = values_by_name(trial.model.graph)
        self._macs = {operator.name: operator.macs for operator in model_cost(trial.model).operators}
        self._before = self._int8_macs(trial.plan)

    def run(self, kept_float: Mapping[str, str]) -> _State:
        """Return the tensors to leave float, with those that are float already."""
        state = self._state(kept_float, self._trial.plan)
        while state.predicted < ENOUGH_DB:
            names = sorted(state.plan.groups, key=lambda group: -self._loudness(group))[:FLOAT_CANDIDATES]
            tried = [further for group in names if (further := self._without(state, group)) is not None]
            worth = [further for further in tried if self._is_worth(state, further)]
            if not worth:
                break
            state = max(worth, key=lambda further: _gain_per_price(state, further))
        return state

    def lost_share(self, plan: QuantPlan) -> float:
        """Return the share of the int8 multiply-accumulates that a plan leaves float."""
        return 1.0 - self._int8_macs(plan) / self._before if self._before else 0.0

    def _int8_macs(self, plan: QuantPlan) -> int:
        return sum(self._macs.get(name, 0) for name in plan.int8_operators)

    def _loudness(self, group: TensorGroup) -> float:
        noise = self._noise.get(group.name)
        return 0.0 if noise is None else float(noise.mean())

    def _state(self, kept_float: Mapping[str, str], plan: QuantPlan) -> _State:
        left = {group.name: self._noise[group.name] for group in plan.groups if group.name in self._noise}
        return _State(kept_float, plan, predicted_db(left), self.lost_share(plan))

    def _without(self, state: _State, group: TensorGroup) -> _State | None:
        """Return the state in which a group is float, or None if the plan then has unknown ranges."""
        if group.name not in self._noise:
            return None
        alone = predicted_db({group.name: self._noise[group.name]})
        reason = f"{LEFT}: {group.name} alone, in int8, limits the outputs to {alone:.1f} dB"
        kept = {**state.kept_float, **dict.fromkeys(with_fused(group, state.plan, self._values), reason)}
        plan = self._material.planner(self._trial.model, kept)
        if not self._material.trials.covers(replace(self._trial, plan=plan)):
            return None
        return self._state(kept, plan)

    def _is_worth(self, state: _State, further: _State) -> bool:
        gain, price = further.predicted - state.predicted, further.share - state.share
        if further.share > self._material.float_share:
            return False
        return gain >= max(LEAST_FLOAT_GAIN_DB, LEAST_DB_PER_PERCENT * 100.0 * price)


def _gain_per_price(state: _State, further: _State) -> float:
    # A free tensor counts as a thousandth of the model, so that the largest of several free ones comes first.
    return (further.predicted - state.predicted) / (max(further.share - state.share, 0.0) + 1e-3)


def with_fused(group: TensorGroup, plan: QuantPlan, values: Mapping[str, ir.Value]) -> frozenset[str]:
    """Return the tensors of a group and of those that are clamped before their quantiser."""
    quantized = {name for other in plan.groups for name in other.tensors}
    found = set(group.tensors)
    for name in group.tensors:
        value = values.get(name)
        while (value := _fused_source(value, plan, quantized)) is not None:
            found.add(value.name or "")
    return frozenset(found)


def _fused_source(value: ir.Value | None, plan: QuantPlan, quantized: set[str]) -> ir.Value | None:
    """Return the input of the operator that writes the value, if it is computed in int8 but never stored."""
    producer = value.producer() if value is not None else None
    source = producer.inputs[0] if producer is not None and producer.inputs else None
    writer = source.producer() if source is not None else None
    if source is None or writer is None or source.name in quantized:
        return None
    return source if writer.name in plan.int8_operators else None
