"""Apply rewrite rules, say what they did, and leave model-local functions alone."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from onnxscript.rewriter import RewriteRule

logger = logging.getLogger(__name__)

_ROUNDS = 8


@contextlib.contextmanager
def functions_aside(model: ir.Model) -> Iterator[None]:
    """While open, the model has no functions: rules neither see nor change their bodies."""
    functions = dict(model.functions)
    model.functions.clear()
    try:
        yield
    finally:
        model.functions.update(functions)


def apply_rules(model: ir.Model, rules: Sequence[RewriteRule]) -> Counter[str]:
    """Apply the rules in order until none fires; return how often each did, by name."""
    from onnxscript.rewriter import RULE_NAME_TAG, RewriteRuleSet

    fired: Counter[str] = Counter()
    if not rules:
        return fired
    rule_set = RewriteRuleSet(list(rules))
    with functions_aside(model):
        for _ in range(_ROUNDS):
            if not rule_set.apply_to_model(model):
                break
            for node in model.graph.all_nodes():
                fired.update(_take_tags(node, RULE_NAME_TAG))
    for name, count in sorted(fired.items()):
        logger.info("%s: %d", name, count)
    return fired


def _take_tags(node: ir.Node, key: str) -> list[str]:
    return [tag.strip() for tag in node.metadata_props.pop(key, "").split(",") if tag.strip()]
