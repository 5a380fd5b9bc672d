"""``xslim check``: what a target's execution provider does with a model."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from xslim.cli.text import counted, known_only, say, say_json

if TYPE_CHECKING:
    from xslim.commands.check import ProviderCheck

SHOWN = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the target and the form of the answer."""
    parser.add_argument("model", metavar="MODEL", help="ONNX model, quantised or not")
    parser.add_argument("--target", metavar="NAME", default="spacemit", help="spacemit (default) or generic")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print what the provider takes; return 1 when something does not fuse or heavy work falls back."""
    from xslim.commands.check import check_provider
    from xslim.passes.tidy import unique_names
    from xslim.pipeline.inputs import load_protected_model
    from xslim.targets import load_target

    target = load_target(options.target)
    model = load_protected_model(Path(options.model))
    unique_names(model)
    check = check_provider(model, target)
    if options.json:
        say_json(_as_json(check))
    else:
        say(*_lines(check), folded=True)
    return 0 if check.passed else 1


def _as_json(check: ProviderCheck) -> dict[str, object]:
    summary = {name: getattr(check, name) for name in ("passed", "taken_share", "int8_share")}
    return {**summary, **asdict(check)}


def _lines(check: ProviderCheck) -> Iterator[str]:
    taken = [node for node in check.nodes if not node.refusal]
    count = f"{len(taken)} of {len(check.nodes)} operators"
    yield f"{check.provider} takes {count} in {counted(check.subgraphs, 'subgraph')}"
    shares = f"{check.taken_share:.1%} of the multiply-accumulates, {check.int8_share:.1%} in int8"
    yield shares + known_only(check.macs_complete)
    yield from _grouped(
        "fall back to the CPU", [(node.refusal, node.name) for node in check.nodes if node.refusal]
    )
    yield from _grouped(
        "Q/DQ patterns that do not fuse",
        [(f"{item.kind}: {item.op_type}: {item.detail}", item.node) for item in check.findings],
    )
    if check.int8_share:
        yield from _grouped(
            "sums of products in float", [(node.op_type, node.name) for node in check.float_work]
        )
    yield "passed" if check.passed else f"failed: {', '.join(_failures(check))}"


def _failures(check: ProviderCheck) -> Iterator[str]:
    if check.refused_work:
        yield f"sums of products that fall back to the CPU ({len(check.refused_work)})"
    if check.findings:
        yield f"Q/DQ patterns that do not fuse ({len(check.findings)})"


def _grouped(title: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    if not rows:
        return
    yield f"{title}: {len(rows)}"
    names: dict[str, list[str]] = defaultdict(list)
    for reason, name in rows:
        names[reason].append(name)
    for reason, found in sorted(names.items(), key=lambda item: -len(item[1])):
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        yield f"  {len(found):4}  {reason}: {', '.join(found[:SHOWN])}{more}"
