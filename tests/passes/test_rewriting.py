"""The quick test before matching leaves few nodes of a long chain to the slow rewriter."""

from __future__ import annotations

from tests.passes.build import build, draw
from xslim.graph.io import load_model
from xslim.passes.fusion import FUSIONS
from xslim.passes.rewriting import candidates, rules_by_root
from xslim.passes.rules import affine, arithmetic, forms, movement

RULES = (
    *forms.rules,
    *arithmetic.rules,
    *movement.rules,
    *affine.rules,
    *(rule for fusion in FUSIONS for rule in fusion.rules),
)
LENGTH = 70


def chain() -> str:
    kinds = ("Relu(v)", "Neg(v)", "Abs(v)", "Add(v, k)", "Mul(v, k)", "Sigmoid(v)", "Tanh(v)")
    lines = []
    for number in range(LENGTH):
        before = f"v{number - 1}" if number else "x"
        after = f"v{number}" if number < LENGTH - 1 else "y"
        lines.append(f"{after} = {kinds[number % len(kinds)].replace('v', before)}")
    return f"g (float[4] x) => (float[4] y) {{ {' '.join(lines)} }}"


def test_a_chain_without_patterns_leaves_less_than_one_rule_a_node() -> None:
    model = load_model(build(chain(), k=draw(4)))
    by_root = rules_by_root(model, RULES)
    every = sum(len(by_root.get(node.op_type, ())) for node in model.graph)
    tried = sum(1 for node in model.graph for _ in candidates(node, by_root))
    assert every > 10 * LENGTH, "the chain has no operator at which patterns end"
    assert tried <= LENGTH


def test_a_pattern_is_a_candidate_in_every_order() -> None:
    for product in ("Mul(x, s)", "Mul(s, x)"):
        model = load_model(build(f"g (float[4] x) => (float[4] y) {{ s = Sigmoid(x) y = {product} }}"))
        (swish,) = (fusion for fusion in FUSIONS if fusion.operator == "Swish")
        found = list(candidates(model.graph[1], rules_by_root(model, swish.rules)))
        assert found
        assert any(rule.match(model, model.graph, model.graph[1]) for rule in found)
