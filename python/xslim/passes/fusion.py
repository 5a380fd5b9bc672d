"""The table of fusions with their opsets, and the decision to raise the opset for a fusion."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

import onnx_ir as ir

from xslim.graph.ops import opset
from xslim.passes.folding import fold_constants, infer_shapes
from xslim.passes.opset import convert_opset, function_obstacle
from xslim.passes.rewriting import apply_rules, candidates, functions_aside, rules_by_root
from xslim.passes.rules import activations, normalization, softmax
from xslim.passes.rules.base import AnyRule
from xslim.passes.steps import UNHEARD, Steps

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fusion:
    """One operator that replaces several.

    Attributes
    ----------
    operator : str
        The standard operator that results.
    rules : tuple of RewriteRule or EveryOrder
        The rewrite rules, in the order in which they are tried.
    first : int
        The first opset that has the operator.
    last : int or None
        The last opset in which onnxruntime has a kernel for the operator; None if there is no last one.
    """

    operator: str
    rules: tuple[AnyRule, ...]
    first: int
    last: int | None = None

    def fits(self, version: int) -> bool:
        """Whether the operator exists in this opset and onnxruntime can run it."""
        return self.first <= version and (self.last is None or version <= self.last)


# The order matters: a normalisation is fused before rules see parts of its arithmetic, a gate before the
# product with the gate.
FUSIONS: tuple[Fusion, ...] = (
    Fusion("LayerNormalization", normalization.layer_norm, 17),
    Fusion("InstanceNormalization", normalization.instance_norm, 6),
    Fusion("GroupNormalization", normalization.group_norm, 21),
    Fusion("RMSNormalization", normalization.rms_norm, 23),
    Fusion("Softmax", softmax.softmax, 13),
    Fusion("Gelu", activations.gelu, 20),
    Fusion("HardSigmoid", activations.hard_sigmoid, 6),
    Fusion("HardSwish", activations.hard_swish, 14),
    Fusion("Mish", activations.mish, 18),
    Fusion("Swish", activations.swish, 24, last=24),
)
EVERY_FUSION = frozenset(fusion.operator for fusion in FUSIONS)


def fuse(
    model: ir.Model,
    *,
    wanted: int | None,
    raise_opset_for: Collection[str],
    steps: Steps = UNHEARD,
) -> ir.Model:
    """Make every fusion that the opset allows, after raising it where one in `raise_opset_for` matches.

    Parameters
    ----------
    model : onnx_ir.Model
        Folded, with shapes; may be changed in place.
    wanted : int or None
        The opset that the result must have; fusions to operators that this opset lacks are not applied.
    raise_opset_for : collection of str
        Operators (see `FUSIONS`) for which a higher opset is worth it when `wanted` is None.
    steps : Steps
        Hears of every step.

    Returns
    -------
    onnx_ir.Model
    """
    if wanted is None:
        model = _raise_opset(model, raise_opset_for, steps)
    version = opset(model) if wanted is None else wanted
    rules = [rule for fusion in FUSIONS if fusion.fits(version) for rule in fusion.rules]
    apply_rules(model, rules, steps)
    return model


def _raise_opset(model: ir.Model, operators: Collection[str], steps: Steps) -> ir.Model:
    version = opset(model)
    wanted = {
        fusion: count
        for fusion in FUSIONS
        if fusion.operator in operators and version < fusion.first and (count := _matches(model, fusion))
    }
    if not wanted:
        return model
    target = max(fusion.first for fusion in wanted)
    obstacle = function_obstacle(model, target)
    if obstacle is not None:
        logger.info("opset %d stays, no %s: %s", version, ", ".join(f.operator for f in wanted), obstacle)
        return model
    reason = ", ".join(
        f"{count} x {fusion.operator} needs {fusion.first}" for fusion, count in wanted.items()
    )
    model = convert_opset(model, target, reason)
    steps.done(f"the conversion of opset {version} to {target}", model)
    infer_shapes(model)
    fold_constants(model)
    return model


def _matches(model: ir.Model, fusion: Fusion) -> int:
    """Return the number of nodes at which a rule of the fusion matches."""
    with functions_aside(model):
        by_root = rules_by_root(model, fusion.rules)
        return sum(
            any(rule.match(model, graph, node) for rule in candidates(node, by_root))
            for graph in model.graphs()
            for node in graph
        )
